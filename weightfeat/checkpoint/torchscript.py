"""TorchScript archives: data.pkl holds the modules, constants.pkl a frozen one's tensors; code/ is not read."""

from __future__ import annotations

import re
from types import MappingProxyType

from weightfeat.checkpoint.faults import Unsupported
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.modules import Found, find_network, read_slots
from weightfeat.checkpoint.nodes import Call, attributes, class_path
from weightfeat.checkpoint.storages import is_tensor
from weightfeat.checkpoint.torch_zip import open_zip
from weightfeat.checkpoint.types import Finding
from weightfeat.checkpoint.walk import Budget, Parts, walk
from weightfeat.checkpoint.zip_archive import ZipArchive

CONSTANTS = "constants.pkl"
_MANGLED = re.compile(r"___torch_mangle_\d+\.")


def read_torchscript(archive: ZipArchive, trace: Trace) -> tuple[Found, list[Finding]]:
    """Tensors of a scripted or traced module in the order of its attributes, which is parameters, buffers, children."""
    opened, findings = open_zip(archive, trace)
    root = opened.root
    if not isinstance(root, Call):
        raise Unsupported("its data.pkl holds no TorchScript module")
    slots, types = walk(root, _parts, Budget())
    if slots:
        tensors, faults = read_slots(slots, opened.reader)
        return Found(tuple(tensors), MappingProxyType(types), tuple(faults)), findings
    return _frozen(archive, trace, findings)


def _frozen(archive: ZipArchive, trace: Trace, findings: list[Finding]) -> tuple[Found, list[Finding]]:
    """torch.jit.freeze turns parameters into constants without names."""
    opened, notes = open_zip(archive, trace, pickle=CONSTANTS, folder="constants")
    found = find_network(opened.root, opened.reader)
    order = Finding(
        "ambiguous-order", "a frozen TorchScript module keeps no names; its constants are in order of use"
    )
    return found, [*findings, *notes, order]


def _parts(node: Call) -> Parts:
    held = attributes(node)
    tensors = [(name, value) for name, value in held.items() if is_tensor(value)]
    children = [(name, value) for name, value in held.items() if _is_module(value)]
    return Parts(_type(node), tensors, children)


def _is_module(node: object) -> bool:
    return isinstance(node, Call) and class_path(node).startswith("__torch__.")


def _type(node: Call) -> str:
    return _MANGLED.sub("", class_path(node)).removeprefix("__torch__.")
