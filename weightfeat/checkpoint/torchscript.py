"""TorchScript archives: data.pkl holds the modules, constants.pkl a frozen one's tensors; code/ is not read."""

from __future__ import annotations

import re
from types import MappingProxyType

from weightfeat.checkpoint.faults import Unreadable, Unsupported
from weightfeat.checkpoint.legacy import Opened
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.modules import Found, find_network, outside_tables, read_slots
from weightfeat.checkpoint.nodes import Call, attributes, class_path
from weightfeat.checkpoint.storages import StoredArray, is_tensor
from weightfeat.checkpoint.torch_zip import open_zip
from weightfeat.checkpoint.types import Finding
from weightfeat.checkpoint.walk import Budget, Parts, holds_network, refuse_disguise, walk
from weightfeat.checkpoint.zip_archive import ZipArchive

CONSTANTS = "constants.pkl"
_MANGLED = re.compile(r"___torch_mangle_\d+\.")


def read_torchscript(archive: ZipArchive, trace: Trace) -> tuple[Found, list[Finding]]:
    """Tensors of a scripted or traced module in the order of its attributes, which is parameters, buffers, children."""
    opened, findings = open_zip(archive, trace)
    root = opened.root
    if not isinstance(root, Call):
        raise Unsupported("its data.pkl holds no TorchScript module")
    walked = walk(root, _parts, Budget())
    if not walked.slots:
        return _frozen(archive, trace, findings)
    tensors, faults = read_slots(walked.slots, opened.reader)
    elements = sum(tensor.data.size for tensor in tensors)
    faults += [*outside_tables(walked.beside), *_constants(archive, trace, elements)]
    return Found(tuple(tensors), MappingProxyType(walked.types), tuple(faults)), findings


def _constants(archive: ZipArchive, trace: Trace, elements: int) -> list[Finding]:
    """A note on weights among the constants of a module that is not frozen, or is in part.

    Raises Unsupported where they outweigh the `elements` of its parameters.
    """
    if CONSTANTS not in archive:
        return []
    opened, _ = _open_constants(archive, trace)
    held = opened.root if isinstance(opened.root, list | tuple) else ()
    arrays = [array.data for node in held if (array := _readable(opened, node)) is not None]
    weights = [data for data in arrays if data.ndim > 1 and data.dtype.kind == "f"]
    size = sum(data.size for data in weights)
    if size > elements:
        raise Unsupported(
            "most of its weights are constants of a module frozen in part: freeze all of it or nothing"
        )
    detail = f"{len(weights)} constants of {size} elements belong to no module and were not analysed"
    return [Finding("outside-tables", detail)] if weights else []


def _open_constants(archive: ZipArchive, trace: Trace) -> tuple[Opened, list[Finding]]:
    """Their storages have a folder, and so numbers, of their own."""
    inner = Trace(steps=trace.steps)
    try:
        return open_zip(archive, inner, pickle=CONSTANTS, folder="constants")
    finally:
        trace.absorb(inner)


def _readable(opened: Opened, node: object) -> StoredArray | None:
    try:
        return opened.reader.read(node)
    except Unreadable:
        return None


def _frozen(archive: ZipArchive, trace: Trace, findings: list[Finding]) -> tuple[Found, list[Finding]]:
    """torch.jit.freeze turns parameters into constants without names."""
    opened, notes = _open_constants(archive, trace)
    found = find_network(opened.root, opened.reader)
    order = Finding(
        "ambiguous-order", "a frozen TorchScript module keeps no names; its constants are in order of use"
    )
    return found, [*findings, *notes, order]


def _parts(node: Call) -> Parts:
    refuse_disguise(node)
    held = attributes(node)
    tensors = [(name, value) for name, value in held.items() if is_tensor(value)]
    children = [(name, value) for name, value in held.items() if _is_module(value)]
    rest = held.keys() - dict(tensors).keys() - dict(children).keys()
    return Parts(
        _type(node),
        tensors,
        children,
        [str(name) for name in held if name in rest and holds_network(held[name])],
    )


def _is_module(node: object) -> bool:
    return isinstance(node, Call) and class_path(node).startswith("__torch__.")


def _type(node: Call) -> str:
    return _MANGLED.sub("", class_path(node)).removeprefix("__torch__.")
