"""TorchScript archives: data.pkl holds the modules, constants.pkl a frozen one's tensors, code/ what reads them."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType
from typing import TypeGuard

from weightfeat.checkpoint.faults import Abuse, Unreadable, Unsupported
from weightfeat.checkpoint.layers import is_matrix
from weightfeat.checkpoint.legacy import Opened
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.modules import Found, find_network, read_slots
from weightfeat.checkpoint.nodes import Call, attributes, class_path, describe
from weightfeat.checkpoint.outside import may_be_weights, outside_tables
from weightfeat.checkpoint.script_code import Code, read_code
from weightfeat.checkpoint.storages import StoredArray, is_tensor
from weightfeat.checkpoint.torch_zip import open_zip
from weightfeat.checkpoint.types import Finding, capped
from weightfeat.checkpoint.walk import Budget, Parts, refuse_disguise, walk
from weightfeat.checkpoint.zip_archive import ZipArchive

CONSTANTS = "constants.pkl"
_OLD_DESCRIPTION = "model.json"
_CODE = "code/"
# densenet201, traced, has a third of a million.
_MOST_CODE = 4 << 20
_SHOWN = 100
_MOST_LOOKED_AT = 1000
_WEIGHT = re.compile(r"weight|kernel|original", re.IGNORECASE)
_MANGLED = re.compile(r"___torch_mangle_\d+\.")


def read_torchscript(archive: ZipArchive, trace: Trace) -> tuple[Found, list[Finding]]:
    """Tensors of a scripted or traced module in the order of its attributes, which is parameters, buffers, children."""
    if _OLD_DESCRIPTION in archive:
        raise Abuse(
            f"it has a {_OLD_DESCRIPTION}, by which torch 1.0 would load another network than by its data.pkl"
        )
    opened, findings = open_zip(archive, trace)
    root = opened.root
    if not isinstance(root, Call):
        raise Unsupported("its data.pkl holds no TorchScript module")
    code = _code_of(archive, _matrices(root))
    findings += capped("foreign-callable", list(dict.fromkeys(code.foreign)))
    walked = walk(root, _parts_by(code), Budget())
    if not walked.slots:
        return _frozen(archive, trace, findings)
    tensors, faults = read_slots(walked.slots, opened.reader)
    elements = sum(tensor.data.size for tensor in tensors)
    faults += [
        *outside_tables(walked.beside, [slot.node for slot in walked.slots], opened.reader),
        *_constants(archive, trace, elements),
    ]
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


def _matrices(root: Call) -> set[tuple[str, str]]:
    """(class, attribute) of what are layers' weights by name and sizes; of all matrices where none is called so."""
    stack: list[Call] = [root]
    seen, found = {id(root)}, set[tuple[str, str]]()
    while stack:
        node = stack.pop()
        for name, value in attributes(node).items():
            if is_matrix(value):
                found.add((class_path(node), str(name)))
            elif _is_module(value) and id(value) not in seen:
                seen.add(id(value))
                stack.append(value)
    named = {(kind, name) for kind, name in found if _WEIGHT.search(name)}
    return named or found


def _code_of(archive: ZipArchive, matrices: set[tuple[str, str]]) -> Code:
    """What the archive's code says; raises Unsupported where it cannot be read, or changes weights."""
    names = [name for name in archive.records if name.startswith(_CODE) and name.endswith(".py")]
    size = sum(archive.records[name].unpacked for name in names)
    if size > _MOST_CODE:
        raise Unsupported(f"its code has {size:,} bytes (at most {_MOST_CODE:,})")
    texts = {}
    for name in names:
        try:
            texts[name.removeprefix(_CODE)] = archive.unpacked(name).decode("utf-8", "replace")
        except Unreadable as fault:
            raise Unsupported(str(fault)) from None
    return read_code(texts, matrices)


def _parts_by(code: Code) -> Callable[[Call], Parts]:
    """How a module's parts are told by what its class declares, and its code reads."""

    def parts(node: Call) -> Parts:
        refuse_disguise(node)
        held, known = attributes(node), code.classes.get(class_path(node))
        if known is None:
            raise Abuse(
                f"its data.pkl has an object of {class_path(node)[:_SHOWN]!r}, which its code does not define"
            )
        strange = next((name for name in held if name not in known.attributes), None)
        if strange is not None:
            raise Abuse(f"its data.pkl gives {describe(strange)} to a class that does not declare it")
        tensors = [(name, value) for name, value in held.items() if is_tensor(value)]
        children = [(name, value) for name, value in held.items() if _is_module(value)]
        lists = next((name for name, value in held.items() if may_be_weights(value)), None)
        if lists is not None:
            raise Unsupported(
                f"its attribute {describe(lists)} holds long lists of numbers, which may be weights"
            )
        unread = [
            (name, value)
            for name, value in (*tensors, *children)
            if name not in known.read and _weighs(value)
        ]
        skipped = {name for name, _ in unread}
        taken = {name for name, _ in (*tensors, *children)}
        return Parts(
            _type(node),
            [(name, value) for name, value in tensors if name not in skipped],
            [(name, value) for name, value in children if name not in skipped],
            [(name, value) for name, value in held.items() if name not in taken],
            unread=unread,
        )

    return parts


def _weighs(node: object) -> bool:
    """Whether a tensor is a matrix, or a module or its children hold one, or too much to tell."""
    stack, looked_at = [node], 0
    while stack:
        found = stack.pop()
        inside = list(attributes(found).values()) if _is_module(found) else []
        looked_at += 1 + len(inside)
        if is_matrix(found) or looked_at > _MOST_LOOKED_AT:
            return True
        stack.extend(inside)
    return False


def _is_module(node: object) -> TypeGuard[Call]:
    return isinstance(node, Call) and class_path(node).startswith("__torch__.")


def _type(node: Call) -> str:
    return _MANGLED.sub("", class_path(node)).removeprefix("__torch__.")
