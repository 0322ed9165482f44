"""torch's distributed checkpoints: a folder of parts (`__0_0.distcp`, ...) and `.metadata`, a pickle of where all lies.

The pickle is read by the machine that only takes notes. Each tensor is an archive of torch.save's at its place within a
part, and a sharded one is put together of several. Source: torch/distributed/checkpoint/metadata.py, filesystem.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from weightfeat.checkpoint.audit import foreign_callables, reported
from weightfeat.checkpoint.beside import Beside
from weightfeat.checkpoint.faults import Abuse, Malformed, Unreadable, Unsupported
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.modules import Found, find_network
from weightfeat.checkpoint.nodes import Call, Global, Table, attributes, call_path, class_path, function_path
from weightfeat.checkpoint.pickle_machine import run
from weightfeat.checkpoint.storages import Declaration, StoredArray, TensorReader
from weightfeat.checkpoint.tensors import DTYPES, MAX_DIMENSIONS, is_count
from weightfeat.checkpoint.torch_zip import open_zip
from weightfeat.checkpoint.types import Finding
from weightfeat.checkpoint.walk import checked_name
from weightfeat.checkpoint.zip_archive import ZipArchive

METADATA, PART = ".metadata", ".distcp"
_CLASSES = "torch.distributed.checkpoint.metadata."
_INFO = "torch.distributed.checkpoint.filesystem._StorageInfo"
# Theirs that do more than make an object: an enumeration's member is called, a state is given to a method.
_KNOWN = frozenset({f"{_CLASSES}_MEM_FORMAT_ENCODING", f"{_CLASSES}TensorProperties"})
_TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
_CONVERT = "convert it with torch.distributed.checkpoint.format_utils.dcp_to_torch_save"
_MOST_PIECES = 100_000
_DEEPEST = 8
_ALWAYS_ASSEMBLED = 64 << 20


@dataclass(frozen=True)
class _Piece:
    """Part of a tensor: the place of its first element, and where its archive lies in a file of the folder."""

    origin: tuple[int, ...]
    file: str
    offset: int
    length: int


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    pieces: list[_Piece]


def read_distributed(data: memoryview, beside: Beside) -> Found:
    """The network of a distributed checkpoint whose `.metadata` are these bytes; parts are read from `beside`.

    Raises
    ------
    Malformed : the pickle is damaged or describes no checkpoint.
    Unsupported : no tensor of a network is in it.
    Abuse : a limit exceeded, a part that lies outside the folder.
    """
    trace = Trace()
    with reported(trace):
        return _network(data, beside, trace)


def _network(data: memoryview, beside: Beside, trace: Trace) -> Found:
    root, _ = run(data, 0, trace)
    trace.calls = [call for call in trace.calls if function_path(call.function) not in _KNOWN]
    if not _is(root, f"{_CLASSES}Metadata"):
        raise Malformed("its .metadata describes no distributed checkpoint")
    held = attributes(root)
    tensors = _tensors(_table(held.get("state_dict_metadata")), _table(held.get("storage_data")))
    nodes = {name: Call("REDUCE", _TENSOR, ()) for name in tensors}
    reader = _Reader({id(node): tensors[name] for name, node in nodes.items()}, beside, trace)
    found = find_network(_tree(nodes, held.get("planner_data")), reader)
    files = {piece.file for tensor in tensors.values() for piece in tensor.pieces}
    order = Finding("ambiguous-order", "checkpoints of several ranks keep no order of modules")
    findings = (*foreign_callables(trace), *found.findings, *([order] if len(files) > 1 else []))
    return replace(found, findings=findings)


class _Reader(TensorReader):
    """Puts tensors together; the nodes of the network stand for them by their identity."""

    def __init__(self, tensors: Mapping[int, _Tensor], beside: Beside, trace: Trace) -> None:
        super().__init__(_nowhere)
        self._tensors, self._beside, self._trace = tensors, beside, trace
        self._assembled = 0

    def read(self, node: object) -> StoredArray | None:
        tensor = self._tensors.get(id(node))
        if tensor is None:
            return None
        if len(tensor.pieces) == 1:
            array = self._piece(tensor.pieces[0])
            if array.data.shape != tensor.shape:
                raise Unreadable(f"it has the shape {array.data.shape}, not {tensor.shape}")
            return array
        return self._joined(tensor)

    def _joined(self, tensor: _Tensor) -> StoredArray:
        """Pieces side by side, each element in one of them."""
        pieces = [(piece.origin, self._piece(piece)) for piece in tensor.pieces]
        types = {array.dtype for _, array in pieces}
        if len(types) != 1 or sum(array.data.size for _, array in pieces) != prod(tensor.shape):
            raise Unreadable("its pieces are not all there, or too many")
        dtype = types.pop()
        whole = np.empty(tensor.shape, DTYPES[dtype])
        filled = np.zeros(tensor.shape, np.bool_)
        self._spend(whole.nbytes + filled.nbytes)
        for origin, array in pieces:
            if len(origin) != whole.ndim or array.data.ndim != whole.ndim:
                raise Unreadable("its pieces have other dimensions than it")
            place = tuple(slice(at, at + size) for at, size in zip(origin, array.data.shape, strict=True))
            if whole[place].shape != array.data.shape:
                raise Unreadable("a piece of it lies outside of it")
            whole[place], filled[place] = array.data, True
        if not filled.all():
            raise Unreadable("its pieces overlap")
        whole.setflags(write=False)
        return StoredArray(dtype, whole)

    def _piece(self, piece: _Piece) -> StoredArray:
        raw = self._beside.part(piece.file, piece.offset, piece.length)
        inner = Trace(steps=self._trace.steps)  # its storages have numbers of their own
        try:
            opened, _ = open_zip(ZipArchive(raw), inner)
        except (Malformed, Unsupported) as fault:
            raise Unreadable(f"its part of {piece.file!r}: {fault}") from None
        finally:
            self._trace.absorb(inner)
        array = opened.reader.read(opened.root)
        if array is None:
            raise Unreadable(f"its part of {piece.file!r} is no tensor")
        return array

    def _spend(self, size: int) -> None:
        self._assembled += size
        most = _ALWAYS_ASSEMBLED + 2 * sum(map(len, self._beside.files.values()))
        if self._assembled > most:
            raise Abuse(f"its tensors claim {self._assembled:,} bytes, more than its parts hold")


def _nowhere(declared: Declaration) -> memoryview:
    raise Unreadable("its storage is in none of the parts")


def _tensors(described: Table, stored: Table) -> dict[str, _Tensor]:
    """Every tensor by name, in the order of the metadata, with all its pieces."""
    entries = [*stored.entries.items(), *(stored.odd or ())]
    if len(entries) > _MOST_PIECES:
        raise Abuse(f"it has {len(entries):,} pieces of tensors")
    tensors = {
        checked_name(name): _Tensor(_size(attributes(entry).get("size")), [])
        for name, entry in described.entries.items()
        if isinstance(name, str) and _is(entry, f"{_CLASSES}TensorStorageMetadata")
    }
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for index, info in entries:
        piece = _piece(index, info)
        name = attributes(index).get("fqn")
        if piece is None or not isinstance(name, str) or name not in tensors:
            continue  # an object beside the network, such as a number of steps
        if (name, piece.origin) in seen:
            raise Abuse(f"a piece of {name!r} has two places")
        seen.add((name, piece.origin))
        tensors[name].pieces.append(piece)
    return {name: tensor for name, tensor in tensors.items() if tensor.pieces}


def _piece(index: object, info: object) -> _Piece | None:
    """One entry of the storage's table; None for what is no tensor's."""
    if not _is(index, f"{_CLASSES}MetadataIndex") or not _is(info, _INFO):
        raise Malformed("its .metadata has an entry that is none")
    where, held = attributes(index), attributes(info)
    if where.get("offset") is None:
        return None
    if held.get("transform_descriptors"):
        raise Unsupported("its parts are compressed", _CONVERT)
    file, offset, length = held.get("relative_path"), held.get("offset"), held.get("length")
    if not isinstance(file, str) or not isinstance(offset, int) or not isinstance(length, int):
        raise Malformed("its .metadata has an entry that is none")
    if not is_count(offset) or not is_count(length):
        raise Malformed("its .metadata has a place that is none")
    return _Piece(_size(where["offset"]), file, offset, length)


def _tree(nodes: Mapping[str, Call], planned: object) -> Table:
    """The nested dict that was saved, as the metadata keeps its keys; flat where it does not."""
    paths = planned.entries if isinstance(planned, Table) else {}
    root = Table()
    for name, node in nodes.items():
        path = paths.get(name)
        keys = path if isinstance(path, tuple) and 0 < len(path) <= _DEEPEST else (name,)
        table = root
        for key in keys[:-1]:
            inner = table.entries.get(str(key))
            if not isinstance(inner, Table):
                inner = Table()
                table.put(str(key), inner)
            table = inner
        table.put(str(keys[-1]), node)
    return root


def _is(node: object, path: str) -> bool:
    return isinstance(node, Call) and class_path(node) == path


def _table(node: object) -> Table:
    if not isinstance(node, Table):
        raise Malformed("its .metadata lacks a table")
    return node


def _size(node: object) -> tuple[int, ...]:
    """A torch.Size as numbers; raises Malformed."""
    given = node.args[0] if isinstance(node, Call) and call_path(node) == "torch.Size" and node.args else ()
    if not isinstance(given, tuple) or len(given) > MAX_DIMENSIONS:
        raise Malformed("its .metadata has a size that is none")
    sizes = tuple(size for size in given if isinstance(size, int) and is_count(size))
    if len(sizes) != len(given):
        raise Malformed("its .metadata has a size that is none")
    return sizes
