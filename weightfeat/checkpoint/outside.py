"""What modules hold elsewhere than in their tables, though they may compute with it: attributes, buffers, hooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from weightfeat.checkpoint.faults import Unreadable, Unsupported
from weightfeat.checkpoint.layers import is_matrix
from weightfeat.checkpoint.nodes import (
    Call,
    Key,
    Table,
    attributes,
    class_path,
    describe,
    entries,
    named_entries,
)
from weightfeat.checkpoint.storages import TensorReader, is_tensor
from weightfeat.checkpoint.types import Finding

_NAMES_SHOWN = 4
_MOST_NUMBERS = 64
"""Numbers that lists of a scripted module may hold together before they may be weights: anchors and means are fewer."""
_FLOATS = ("float", "bfloat", "complex")


@dataclass
class Beside:
    """The places outside a network's tables, by dotted name: `attributes` are searched for tensors, `buffers` are
    those that state_dict() leaves out, `runs` says what replaces or follows a `forward`, `unread` is never read by the
    file's own code."""

    attributes: list[tuple[str, object]] = field(default_factory=list)
    buffers: list[tuple[str, object]] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def outside_tables(beside: Beside, within: Iterable[object], reader: TensorReader) -> list[Finding]:
    """A finding for each kind of thing that lies outside; `within` are the nodes of the tensors analysed.

    Raises Unsupported where attributes hold matrices that are not analysed, or buffers outweigh what is.
    """
    tensors = list(within)
    seen = {id(node) for node in tensors}
    held = [(name, found) for name, node in beside.attributes if (found := list(_tensors(node, seen)))]
    loud = next((name for name, found in held if any(_is_weight(node, reader) for node in found)), None)
    if loud is not None:
        raise Unsupported(
            f"{describe(loud)} holds weights outside the modules' tables, with which the network may compute"
        )
    buffers = [(name, node) for name, node in beside.buffers if _is_weight(node, reader)]
    if sum(_size(node, reader) for _, node in buffers) > sum(_size(node, reader) for node in tensors):
        raise Unsupported(
            f"most of its weights are buffers that are not persistent, as {describe(buffers[0][0])}"
        )
    return [
        *_listed([name for name, _ in held], "attributes hold tensors that were not analysed"),
        *_listed([name for name, _ in buffers], "buffers are not persistent and were not analysed"),
        *_listed(beside.unread, "tensors or modules are never read by its code and were not analysed"),
        *_listed(beside.runs, "hooks or other functions change what its modules compute"),
    ]


def _listed(names: list[str], what: str) -> list[Finding]:
    if not names:
        return []
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    shown = ", ".join(map(describe, names[:_NAMES_SHOWN]))
    return [Finding("outside-tables", f"{len(names)} {what}: {shown}{more}")]


def _tensors(root: object, seen: set[int]) -> Iterator[Call]:
    """The tensors below an object that were not seen before; what is looked at counts as seen."""
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        if is_tensor(node) and isinstance(node, Call):
            seen.add(id(node))
            yield node
            continue
        inside = list(contents(node))
        if inside:
            seen.add(id(node))
            stack.extend(value for _, value in inside)


def contents(node: object) -> Iterator[tuple[Key, object]]:
    """All that an object holds, by key where it has one: entries, attributes, arguments, items."""
    yield from named_entries(node) or ()
    if isinstance(node, Call):
        yield from attributes(node).items()
        yield from ((None, value) for value in (*node.args, *(node.items or ())))
    elif isinstance(node, list | tuple):
        yield from ((None, value) for value in node)


def numbers_in(root: object) -> int:
    """How many numbers the lists and tuples below a value hold, as far as they may be too many."""
    stack, found = [root], 0
    seen: set[int] = set()
    while stack and found <= _MOST_NUMBERS:
        node = stack.pop()
        if isinstance(node, list | tuple) and id(node) not in seen:
            seen.add(id(node))
            found += sum(isinstance(value, int | float) for value in node)
            stack.extend(value for value in node if isinstance(value, list | tuple))
    return found


def may_be_weights(root: object) -> bool:
    """Whether lists of numbers are long enough to be a layer's weights."""
    return numbers_in(root) > _MOST_NUMBERS


def _is_weight(node: object, reader: TensorReader) -> bool:
    """Whether a tensor is a matrix of floating-point numbers; one that cannot be read may be."""
    if not is_matrix(node):
        return False
    try:
        array = reader.read(node)
    except Unreadable:
        return True
    return array is not None and array.dtype.startswith(_FLOATS)


def _size(node: object, reader: TensorReader) -> int:
    try:
        array = reader.read(node)
    except Unreadable:
        return 0
    return 0 if array is None else array.data.size


def is_empty(node: Table | list[object] | tuple[object, ...]) -> bool:
    """Whether a container holds nothing, told without a copy of it."""
    return not (node.entries or node.odd) if isinstance(node, Table) else not node


# torch.nn.utils computes a weight from its parts before each forward, and keeps the last one as an attribute.
_RECOMPUTING = ("torch.nn.utils.weight_norm.", "torch.nn.utils.spectral_norm.", "torch.nn.utils.prune.")
_PARTS = ("_orig", "_g")


@dataclass(frozen=True)
class Composed:
    """The names of a module's own tensors, some of which may be parts that others are computed from."""

    names: frozenset[Key]

    @classmethod
    def of(cls, names: Iterable[Key]) -> Composed:
        return cls(frozenset(names))

    def makes(self, name: Key) -> bool:
        """Whether the parts of a tensor are there, and not the tensor itself."""
        return name not in self.names and any(f"{name}{part}" in self.names for part in _PARTS)


def runs_of(held: dict[Key, object], parts: Composed) -> Iterator[str]:
    """Names of a module's attributes that make it compute otherwise than its class does: hooks, another `forward`."""
    if "forward" in held:
        yield "forward"
    for name in _HOOK_TABLES:
        hooks = entries(held.get(name)) or {}
        if len(hooks) > _MOST_HOOKS or any(not _recomputes(hook, parts) for hook in hooks.values()):
            yield name


_HOOK_TABLES = ("_forward_pre_hooks", "_forward_hooks")
_MOST_HOOKS = 100


def _recomputes(hook: object, parts: Composed) -> bool:
    """Whether a hook only computes a weight of the module from parts that its tables hold."""
    if not isinstance(hook, Call) or not class_path(hook).startswith(_RECOMPUTING):
        return False
    given = attributes(hook)
    name = given.get("name", given.get("_tensor_name"))
    return isinstance(name, str) and parts.makes(name)
