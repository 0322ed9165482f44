"""torch.save's layout before 1.6, and pickled storages within pickles, which still have it.

Five pickles one after the other (magic number, protocol version, system, object, storage keys), then each storage: its
number of elements as eight bytes, then its elements, always little-endian. Source: torch/serialization.py,
`_legacy_save`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from weightfeat.checkpoint.audit import NESTED_STORAGE
from weightfeat.checkpoint.faults import Abuse, Malformed, Unreadable, Unsupported
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.nodes import Call, call_path, describe
from weightfeat.checkpoint.pickle_machine import run
from weightfeat.checkpoint.storages import Declaration, Storage, TensorReader, declarations

MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_COUNT = struct.Struct("<q")
_DEEPEST_NESTING = 3


@dataclass(frozen=True, eq=False)
class Opened:
    """A layout's object, the reader of its tensors, and where the layout ends."""

    root: object
    reader: TensorReader
    end: int


def open_legacy(data: memoryview, trace: Trace, *, start: int = 0, depth: int = 0) -> Opened:
    """Read the five pickles and find every storage; raises Malformed, Unsupported or Abuse."""
    magic, position = run(data, start, trace)
    if magic != MAGIC:
        raise Malformed("it does not begin with torch's magic number")
    version, position = run(data, position, trace)
    if version != _VERSION:
        raise Unsupported(f"its layout has version {describe(version)}, not {_VERSION}")
    _, position = run(data, position, trace)
    root, position = run(data, position, trace)
    keys, position = run(data, position, trace)
    contents, end = _contents(data, position, keys, declarations(trace))

    def locate(declared: Declaration) -> memoryview:
        if declared.key not in contents:
            raise Unreadable(f"storage {describe(declared.key)} is not in the file")
        return contents[declared.key]

    return Opened(root, TensorReader(locate, nested=open_nested(trace, depth)), end)


def open_bare(data: memoryview, trace: Trace) -> Opened:
    """A pickle with nothing around it, as pickle.dump writes: its storages are nested in it."""
    root, end = run(data, 0, trace)

    def locate(declared: Declaration) -> memoryview:
        raise Unreadable(f"storage {describe(declared.key)} is not in the file")

    return Opened(root, TensorReader(locate, nested=open_nested(trace)), end)


def _contents(
    data: memoryview, position: int, keys: object, declared: dict[str, Declaration]
) -> tuple[dict[str, memoryview], int]:
    """The bytes of every storage listed, and where the last one ends."""
    if not isinstance(keys, list):
        raise Malformed("its list of storages is none")
    contents: dict[str, memoryview] = {}
    for key in keys:
        if not isinstance(key, str) or key not in declared:
            raise Malformed(f"its list of storages names {describe(key)}, which no tensor uses")
        if key in contents:
            raise Abuse(f"storage {describe(key)} is listed twice")
        if position + _COUNT.size > len(data):
            raise Malformed("it ends before its last storage")
        numel = _COUNT.unpack_from(data, position)[0]
        if numel != declared[key].numel:
            raise Malformed(
                f"storage {describe(key)} has {numel} elements where {declared[key].numel} are declared"
            )
        start = position + _COUNT.size
        try:
            position = start + declared[key].nbytes
        except Unreadable as fault:
            raise Unsupported(f"of storage {describe(key)}: {fault}") from None
        if position > len(data):
            raise Malformed("it ends within a storage")
        contents[key] = data[start:position]
    return contents, position


def open_nested(trace: Trace, depth: int = 0) -> dict[int, Storage | Unreadable]:
    """Storages pickled as bytes (`torch.storage._load_from_bytes`), by the identity of the call that loads them.

    Read by the same machine, out of the same budget, to a fixed depth; what they ask for joins `trace`.
    """
    found: dict[int, Storage | Unreadable] = {}
    known: dict[int, Storage | Unreadable] = {}  # the same bytes may be loaded again and again
    for call in list(trace.calls):
        if call_path(call) == NESTED_STORAGE:
            blob = call.args[0] if len(call.args) == 1 else call
            if id(blob) not in known:
                known[id(blob)] = _opened(call, trace, depth + 1)
            found[id(call)] = known[id(blob)]
    return found


def _opened(call: Call, trace: Trace, depth: int) -> Storage | Unreadable:
    """A nested storage; torch.load would load bytes of any other layout as well, so they join what is suspicious."""
    inner = Trace(steps=trace.steps)
    try:
        return _nested(call, inner, depth)
    except (Malformed, Unsupported, Unreadable) as fault:
        trace.nested.append(call)
        return Unreadable(f"its nested storage: {fault}")
    finally:
        trace.absorb(inner)


def _nested(call: Call, trace: Trace, depth: int) -> Storage:
    if depth > _DEEPEST_NESTING:
        raise Abuse(f"its pickles are nested more than {_DEEPEST_NESTING} deep")
    blob = call.args[0] if len(call.args) == 1 else None
    if not isinstance(blob, memoryview):
        raise Unreadable("it is not given as bytes")
    opened = open_legacy(blob, trace, depth=depth)
    inner = opened.reader.storage(opened.root)
    return Storage(inner.raw, inner.dtype, (id(call), inner.key))
