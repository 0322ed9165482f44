"""The formats, each known by its first bytes; the name of a file says nothing."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from weightfeat.checkpoint import numpy_file, strangers
from weightfeat.checkpoint.audit import foreign_callables, reported
from weightfeat.checkpoint.distributed import PART
from weightfeat.checkpoint.export_archive import read_export, read_old_export
from weightfeat.checkpoint.faults import Abuse, Malformed, Unsupported
from weightfeat.checkpoint.hdf5_file import SIGNATURE, read_hdf5
from weightfeat.checkpoint.keras_archive import read_keras
from weightfeat.checkpoint.legacy import MAGIC, Opened, open_bare, open_legacy
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.modules import Found, find_network
from weightfeat.checkpoint.numpy_file import read_npz, refuse_npy
from weightfeat.checkpoint.onnx_file import read_onnx
from weightfeat.checkpoint.onnx_graph import is_onnx
from weightfeat.checkpoint.packed import Wrapped, chosen, of_tar, of_zip
from weightfeat.checkpoint.pickle_machine import run
from weightfeat.checkpoint.prefixes import tensors_under, without_wrappers
from weightfeat.checkpoint.safetensors_file import read_safetensors
from weightfeat.checkpoint.streams import BZ2, GZIP, XZ, unpack
from weightfeat.checkpoint.torch_zip import open_zip
from weightfeat.checkpoint.torchscript import CONSTANTS, read_torchscript
from weightfeat.checkpoint.types import Finding, StoredTensor
from weightfeat.checkpoint.zip_archive import LOCAL_SIGNATURE, Record, ZipArchive, ends_as_zip, records_of
from weightfeat.checkpoint.zip_kinds import kind_of

# Long enough for a web page's leading comments; a tar archive's header has 512.
HEAD_BYTES = 4096
_MOST_SHARED = 4
"""How many times the file's own size its tensors may have together: those of tied layers have several names."""


@dataclass(frozen=True)
class Contents:
    """What a format's reader makes of a file; `beside` are the other files that it had to read."""

    format: str
    tensors: tuple[StoredTensor, ...]
    findings: tuple[Finding, ...]
    module_types: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ordered: bool = True
    beside: tuple[memoryview, ...] = ()


@dataclass(frozen=True)
class Format:
    """A way of recognising a format by its first bytes (given with the file's size), and of reading it.

    What is read may be another file, which the bytes are a wrapping of.
    `read_key` reads the part under a key, where files of the format hold several things under keys.
    """

    name: str
    sniff: Callable[[bytes, int], bool]
    read: Callable[[Path, memoryview], Contents | Wrapped]
    read_key: Callable[[Path, memoryview, str], Contents | Wrapped] | None = None


def _read_zip(path: Path, data: memoryview, key: str | None = None) -> Contents | Wrapped:
    if path.name.endswith(PART):  # archives end to end, which no reader of one archive makes sense of
        raise Unsupported("it is a part of a distributed checkpoint", "give the folder it lies in")
    if _is_safetensors(bytes(data[:HEAD_BYTES]), len(data)):
        raise Abuse("it is a zip archive and a safetensors file at once")
    records = records_of(data)
    kind = kind_of(records)
    if kind == "torch":
        return _read_torch_zip(data, key)
    if kind == "other":
        return Wrapped.of("zip", chosen(of_zip(data, records, HEAD_BYTES), _is_model))
    contents = _of_kind(kind, data, records)
    return contents if key is None else under(contents, key)


def _of_kind(kind: str, data: memoryview, records: list[Record]) -> Contents:
    if kind == "keras":
        return found_contents("keras-zip", read_keras(data, records))
    if kind == "numpy":
        return found_contents("numpy-zip", read_npz(data, records))
    trace = Trace()
    with reported(trace):
        found, notes = (read_export if kind == "export" else read_old_export)(data, records, trace)
        return _contents("torch-export", found, trace, notes, data)


def _read_torch_zip(data: memoryview, key: str | None) -> Contents:
    archive, trace = ZipArchive(data), Trace()
    with reported(trace):
        if CONSTANTS in archive:  # the test torch.load makes
            found, notes = read_torchscript(archive, trace)
            contents = _contents("torchscript", found, trace, notes, data)
            return contents if key is None else under(contents, key)
        opened, notes = open_zip(archive, trace)
        return _contents("torch-zip", find_network(opened.root, opened.reader, key), trace, notes, data)


def _read_legacy(path: Path, data: memoryview, key: str | None = None) -> Contents:
    return _read_stream("torch-legacy", open_legacy, data, key)


def _read_pickle(path: Path, data: memoryview, key: str | None = None) -> Contents:
    with strangers.pickled_by(data):
        return _read_stream("pickle", open_bare, data, key)


def _read_stream(
    name: str, opener: Callable[[memoryview, Trace], Opened], data: memoryview, key: str | None
) -> Contents:
    trace = Trace()
    with reported(trace):
        opened = opener(data, trace)
        found = find_network(opened.root, opened.reader, key)
        return _contents(name, found, trace, _surplus(opened, data), data)


def _surplus(opened: Opened, data: memoryview) -> list[Finding]:
    extra = len(data) - opened.end
    return [Finding("note", f"{extra} bytes follow the end of the model")] if extra else []


def _contents(name: str, found: Found, trace: Trace, notes: list[Finding], data: memoryview) -> Contents:
    _refuse_shared(found.tensors, len(data))
    plain = without_wrappers(found)
    findings = (*foreign_callables(trace), *found.findings, *notes)
    ordered = not any(finding.kind == "ambiguous-order" for finding in findings)
    return Contents(name, plain.tensors, findings, plain.module_types, ordered)


def under(contents: Contents, key: str) -> Contents:
    """Only what is under a key, by the names; raises Unsupported where nothing is."""
    start = f"{key}."
    types = {
        path[len(start) :]: kind for path, kind in contents.module_types.items() if path.startswith(start)
    }
    tensors = tensors_under(contents.tensors, key)
    return replace(contents, tensors=tensors, module_types=MappingProxyType(types))


def _refuse_shared(tensors: tuple[StoredTensor, ...], size: int) -> None:
    """Raises Abuse where many names for few bytes would fill the memory once each has an array of its own."""
    named = sum(tensor.data.nbytes for tensor in tensors)
    if named > _MOST_SHARED * size:
        raise Abuse(f"its tensors share their bytes: together they have {named:,}, the file {size:,}")


def _read_safetensors(path: Path, data: memoryview) -> Contents:
    if _is_pickle(bytes(data[:2]), len(data)) and _runs(data):
        raise Abuse("it is a safetensors file and a pickle at once")
    tensors, findings = read_safetensors(path, data)
    if not tensors:
        raise Unsupported("it has no tensor that can be read")
    found = without_wrappers(Found(tensors, MappingProxyType({}), findings))
    return Contents("safetensors", found.tensors, found.findings, ordered=False)


def _runs(data: memoryview) -> bool:
    """Whether a pickle machine gets to the end or to anything it would import."""
    trace = Trace()
    try:
        run(data, 0, trace)
    except (Abuse, Malformed):
        return bool(trace.references)
    return True


def _read_hdf5(path: Path, data: memoryview) -> Contents:
    return found_contents("keras-hdf5", read_hdf5(path, data))


def _read_onnx(path: Path, data: memoryview) -> Contents:
    found, beside = read_onnx(path, data)
    _refuse_shared(found.tensors, len(data) + sum(map(len, beside)))
    return found_contents("onnx", found, beside)


def found_contents(name: str, found: Found, beside: tuple[memoryview, ...] = ()) -> Contents:
    """What a reader found, as contents of a format; ordered unless a finding says otherwise."""
    ordered = not any(finding.kind == "ambiguous-order" for finding in found.findings)
    return Contents(name, found.tensors, found.findings, found.module_types, ordered, beside)


def _read_npy(path: Path, data: memoryview) -> Contents:
    refuse_npy(data)


def _read_tar(path: Path, data: memoryview) -> Wrapped:
    return Wrapped.of("tar", chosen(of_tar(data, HEAD_BYTES), _is_model))


def _read_compressed(name: str, kind: bytes) -> Callable[[Path, memoryview], Wrapped]:
    def read(path: Path, data: memoryview) -> Wrapped:
        return Wrapped(name, "", lambda out, budget: unpack(data, kind, out, budget))

    return read


def _is_pickle(head: bytes, size: int) -> bool:
    return len(head) > 1 and head[0] == 0x80 and head[1] <= 5


def _is_legacy(head: bytes, size: int) -> bool:
    number = MAGIC.to_bytes(10, "little")
    return (_is_pickle(head, size) and number in head[:32]) or head.startswith(
        str(MAGIC).encode().join((b"L", b"L\n."))
    )


def _is_tar(head: bytes, size: int) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _is_both(head: bytes, size: int) -> bool:
    # torch.load tries tar before pickle, most scanners the other way round.
    return _is_tar(head, size) and (_is_pickle(head, size) or _is_safetensors(head, size))


def _read_both(path: Path, data: memoryview) -> Contents:
    raise Abuse("it is a tar archive and a pickle, or a safetensors file, at once")


def _is_old_pickle(head: bytes, size: int) -> bool:
    """Protocols 0 and 1 begin with no mark of their own, and most of what they write is text."""
    return head[:1] in _OLD_BEGINNINGS and _is_program(memoryview(head))


def _is_program(head: memoryview) -> bool:
    """Whether a pickle machine gets to an end, a call, or an import of what model files are made of."""
    trace = Trace()
    try:
        run(head, 0, trace)
    except (Abuse, Malformed):
        packages = {reference.module.partition(".")[0] for reference in trace.references}
        return bool(trace.calls or packages & _PACKAGES)
    return True


_PACKAGES = frozenset({"collections", "numpy", "torch"})
# What a dict, a list, a call, an import or a text begin with.
_OLD_BEGINNINGS = (b"(", b"}", b"]", b"c", b"V", b"S", b"X", b"U")


def refuse_second_format(known: Format, data: memoryview) -> None:
    """Raises Abuse for a file in which a reader of another format finds one of its own: two readers, two networks.

    HDF5's begins at 0, 512, 1024, 2048 and so on, and a zip archive is found from its end.
    """
    at = 512
    while known.name != "hdf5" and at < len(data):
        if bytes(data[at : at + len(SIGNATURE)]) == SIGNATURE:
            raise Abuse(f"an HDF5 file begins at its byte {at}, behind what is {known.name}")
        at *= 2
    if known.name != "zip" and ends_as_zip(data):
        raise Abuse(f"it ends as a zip archive, behind what is {known.name}")


def _begins_with(signature: bytes, head: bytes, size: int) -> bool:
    return head.startswith(signature)


def _is_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


FORMATS = (
    Format("zip", lambda head, size: head.startswith(LOCAL_SIGNATURE), _read_zip, _read_zip),
    Format("tar and pickle", _is_both, _read_both),
    # Before the pickles, for the length of a header may look like the beginning of one.
    Format("safetensors", _is_safetensors, _read_safetensors),
    Format("torch-legacy", _is_legacy, _read_legacy, _read_legacy),
    Format("pickle", _is_pickle, _read_pickle, _read_pickle),
    Format("pickle", _is_old_pickle, _read_pickle, _read_pickle),
    Format("hdf5", lambda head, size: head.startswith(SIGNATURE), _read_hdf5),
    Format("npy", lambda head, size: head.startswith(numpy_file.MAGIC), _read_npy),
    Format("tar", _is_tar, _read_tar),
    *(
        Format(name, partial(_begins_with, kind), _read_compressed(name, kind))
        for name, kind in (("gzip", GZIP), ("bz2", BZ2), ("xz", XZ))
    ),
    # The only one without a signature.
    Format("onnx", is_onnx, _read_onnx),
)


def format_of(data: memoryview) -> Format:
    """The format of a file of these bytes; where it is none of them, raises what it is instead."""
    head = bytes(data[:HEAD_BYTES])
    for known in FORMATS:
        if known.sniff(head, len(data)):
            return known
    raise strangers.fault_of(head, data)


def _is_model(head: bytes, size: int) -> bool:
    """Whether a file within an archive is of a format that is read."""
    return any(known.sniff(head, size) for known in FORMATS)
