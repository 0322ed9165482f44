"""torch.export's .pt2 archives: weights by their manifest (since torch 2.8) or as a state_dict within (before).

A program's graph is read for the order in which it uses its buffers and not run. Source: torch/export/pt2_archive,
torch/_export/serde/schema.py.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from types import MappingProxyType
from typing import Any

from weightfeat.checkpoint.faults import Abuse, Malformed, Unreadable, Unsupported
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.modules import Found, find_network
from weightfeat.checkpoint.storages import StoredArray
from weightfeat.checkpoint.tensors import DTYPES, check_geometry, contiguous, tensor_array
from weightfeat.checkpoint.torch_zip import open_zip
from weightfeat.checkpoint.types import Finding, StoredTensor
from weightfeat.checkpoint.walk import checked_name
from weightfeat.checkpoint.zip_archive import LOCAL_SIGNATURE, Record, ZipArchive
from weightfeat.checkpoint.zip_kinds import Records

_STATE = "serialized_state_dict.pt"
_WEIGHTS, _MANIFEST = "data/weights/", "_weights_config.json"
_LARGEST_JSON = 16 << 20
_MOST_WEIGHTS = 100_000
_STRIDED = 7
_LAST = 1 << 62
_MOST_NOTES = 10
# torch's ScalarType numbers.
_TYPES = {
    **{1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64"},
    **{10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16", 34: "uint32", 35: "uint64"},
}  # fmt: skip
# Kernels that the archive was compiled into: torch loads and runs them.
_COMPILED = (".so", ".dll", ".dylib", ".cubin", ".cpp", ".o", ".wrapper.json")


def read_export(data: memoryview, records: Sequence[Record], trace: Trace) -> tuple[Found, list[Finding]]:
    """The one program's weights, parameters and buffers of a module together as its state_dict has them.

    Returns the network and notes on the archive. Raises Unsupported for several programs, compiled ones alone or none,
    Malformed for a manifest that is none, Abuse for names that differ by case alone.
    """
    archive = Records(data, records)
    folder = records[0].name.partition("/")[0] + "/"
    if any(not name.startswith(folder) for name in archive.by_name):
        raise Abuse("the archive has more than one top folder")
    notes = [*_compiled(archive), *_pickles(archive, trace)]
    manifests = [n for n in archive.by_name if n.startswith(folder + _WEIGHTS) and n.endswith(_MANIFEST)]
    if not manifests:
        raise Unsupported("it is a .pt2 archive without weights: give the program before it was compiled")
    if len(manifests) > 1:
        raise Unsupported(
            f"it is a .pt2 archive of {len(manifests)} programs: save the one that classifies alone"
        )
    program = manifests[0].removeprefix(folder + _WEIGHTS).removesuffix(_MANIFEST)
    entries = _json(archive, manifests[0]).get("config")
    if not isinstance(entries, dict) or not 0 < len(entries) <= _MOST_WEIGHTS:
        raise Malformed("the list of its weights is none")
    used = _used(archive, f"{folder}models/{program}.json")
    tensors, findings = [], []
    for name in _ordered(entries, used):
        try:
            array = _weight(archive, folder + _WEIGHTS, entries[name])
        except Unreadable as fault:
            findings.append(Finding("unreadable-tensor", f"{name!r}: {fault}"))
            continue
        tensors.append(StoredTensor(checked_name(name), array.dtype, array.data))
    if not tensors:
        raise Unsupported(f"none of its weights can be read ({findings[0].detail})")
    return Found(tuple(tensors), MappingProxyType({}), tuple(findings)), notes


def read_old_export(data: memoryview, records: Sequence[Record], trace: Trace) -> tuple[Found, list[Finding]]:
    """Before torch 2.8: a state_dict of torch.save's within the archive, read as one that lies alone is."""
    archive = Records(data, records)
    try:
        state = archive.read(_STATE)
    except Unreadable as fault:
        raise Unsupported(f"it is a .pt2 archive that cannot be read ({fault})") from None
    notes = [*_compiled(archive), *_pickles(archive, trace)]
    if bytes(state[:4]) != LOCAL_SIGNATURE:
        raise Unsupported(
            "it is a .pt2 archive of a torch before 2.2, whose weights are not read: export it again"
        )
    opened, more = open_zip(ZipArchive(state), trace)
    return find_network(opened.root, opened.reader), [*notes, *more]


def _json(archive: Records, name: str) -> dict[str, Any]:
    try:
        raw = archive.read(name)
    except Unreadable as fault:
        raise Unsupported(str(fault)) from None
    if len(raw) > _LARGEST_JSON:
        raise Abuse(f"its record {name} has {len(raw):,} bytes")
    try:
        parsed = json.loads(bytes(raw))
    except (ValueError, RecursionError):
        raise Malformed(f"its record {name} is no JSON that can be read") from None
    if not isinstance(parsed, dict):
        raise Malformed(f"its record {name} is no table")
    return parsed


def _weight(archive: Records, folder: str, entry: object) -> StoredArray:
    """One weight as its manifest's entry describes it; raises Unreadable."""
    if not isinstance(entry, dict) or not isinstance(entry.get("path_name"), str):
        raise Unreadable("its entry in the list of weights is none")
    meta = entry.get("tensor_meta")
    if entry.get("use_pickle") or not isinstance(meta, dict):
        raise Unreadable("it is pickled, as tensors of a class of their own are")
    if meta.get("layout") != _STRIDED:
        raise Unreadable("it is sparse")
    code = meta.get("dtype")
    dtype = _TYPES.get(code, f"of number {code}") if isinstance(code, int) else "of no number"
    sizes, strides = _numbers(meta.get("sizes")), _numbers(meta.get("strides"))
    (offset,) = _numbers([meta.get("storage_offset")])
    geometry = check_geometry(offset, sizes, strides)
    raw = archive.read(folder + entry["path_name"])
    whole = contiguous(geometry.shape)
    if (
        dtype in DTYPES
        and len(raw) == geometry.count * DTYPES[dtype].itemsize
        and geometry.stride == whole.stride
    ):
        geometry = whole  # a view of a larger storage is written alone, under the place it had there
    return StoredArray(dtype, tensor_array(raw, dtype, geometry))


def _numbers(values: object) -> tuple[object, ...]:
    """Sizes in torch's way of writing them, {"as_int": 3}; one that depends on the input stays as it is."""
    held = values if isinstance(values, list) else [None]
    return tuple(value.get("as_int") if isinstance(value, dict) else None for value in held)


def _ordered(entries: Mapping[str, Any], used: Mapping[str, int]) -> list[str]:
    """Names module by module, where the manifest has all parameters before all buffers.

    Modules are in the order of their parameters; one of buffers alone stands in front of the first that is used later.
    """
    modules: dict[str, list[str]] = {}
    alone: dict[str, list[str]] = {}
    parameters = [
        n for n, entry in entries.items() if isinstance(entry, dict) and entry.get("is_param") is True
    ]
    for name in parameters:
        modules.setdefault(_module(name), []).append(name)
    taken = set(parameters)
    for name in (name for name in entries if name not in taken):
        (modules if _module(name) in modules else alone).setdefault(_module(name), []).append(name)
    order = list(modules)
    reached = list(accumulate((_first(modules[module], used) for module in order), max))
    placed: dict[int, list[str]] = {}
    for module in sorted(alone, key=lambda module: _first(alone[module], used)):
        placed.setdefault(bisect_right(reached, _first(alone[module], used)), []).append(module)
    mixed = [
        module
        for place in range(len(order) + 1)
        for module in (*placed.get(place, ()), *order[place : place + 1])
    ]
    held = modules | alone
    return [name for module in mixed for name in held[module]]


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _first(names: Sequence[str], used: Mapping[str, int]) -> int:
    return min((used.get(name, _LAST) for name in names), default=_LAST)


def _used(archive: Records, name: str) -> dict[str, int]:
    """The number of the first operation that takes each parameter or buffer, by the latter's name."""
    if name not in archive:
        return {}
    program = _json(archive, name)
    arguments = dict(_arguments(_inside(program, "graph_module", "signature", "input_specs")))
    first: dict[str, int] = {}
    for number, node in enumerate(_list(_inside(program, "graph_module", "graph", "nodes"))):
        for entry in _list(_inside(node, "inputs")):
            taken = _inside(entry, "arg", "as_tensor", "name")
            if isinstance(taken, str) and taken in arguments:
                first.setdefault(arguments[taken], number)
    return first


def _arguments(specs: object) -> Iterator[tuple[str, str]]:
    """(argument of the graph, name of the parameter or buffer)."""
    for spec in _list(specs):
        for kind in ("parameter", "buffer"):
            argument, name = _inside(spec, kind, "arg", "name"), _inside(spec, kind, f"{kind}_name")
            if isinstance(argument, str) and isinstance(name, str):
                yield argument, name


def _inside(node: object, *keys: str) -> object:
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _list(node: object) -> list[object]:
    return node if isinstance(node, list) else []


def _compiled(archive: Records) -> Iterator[Finding]:
    for name in [name for name in archive.by_name if name.endswith(_COMPILED)][:_MOST_NOTES]:
        yield Finding("foreign-callable", f"compiled code in the archive: {name}")


def _pickles(archive: Records, trace: Trace) -> Iterator[Finding]:
    """The pickles of example inputs and constants, read for what they would call; they hold no weights."""
    for name, record in archive.by_name.items():
        raw = archive.packed(record)
        if name.endswith(_STATE) or bytes(raw[:4]) != LOCAL_SIGNATURE:
            continue
        inner = Trace(steps=trace.steps)
        try:
            open_zip(ZipArchive(raw), inner)
        except (Malformed, Unsupported, Unreadable) as fault:
            yield Finding("note", f"its record {name} cannot be read: {fault}")
        finally:
            trace.absorb(inner)
