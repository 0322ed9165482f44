"""Walking a pickled nn.Module: parameters, buffers, children, with a stack of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from weightfeat.checkpoint.faults import Abuse
from weightfeat.checkpoint.nodes import Bag, Call, Key, attributes, call_path, class_path, named_entries

_DEEPEST_MODULE = 100
_LONGEST_NAME = 512
_MOST_HIDDEN = 1000


@dataclass(frozen=True, eq=False)
class Slot:
    """A place of the network that should hold a tensor; `certain` when registered as parameter or buffer."""

    name: str
    node: object
    certain: bool


def checked_name(name: str) -> str:
    """The name itself; raises Abuse for one of absurd length, which a hundred thousand tensors could share."""
    if len(name) > _LONGEST_NAME:
        raise Abuse(f"a tensor's name has {len(name):,} characters")
    return name


@dataclass
class Budget:
    """Bounds the walk of graphs that share their parts: n objects can have 2**n paths."""

    most: int = 100_000
    visits: int = 0

    def spend(self, visits: int) -> None:
        self.visits += visits
        if self.visits > self.most:
            raise Abuse(f"its objects are shared so that they have more than {self.most:,} names")


@dataclass(frozen=True)
class Parts:
    """What one module holds: its class, the tensors of its own, its children."""

    type: str
    tensors: Sequence[tuple[Key, object]]
    children: Sequence[tuple[Key, object]]


def is_module(node: object) -> TypeGuard[Call]:
    """Whether an object has the attributes every nn.Module has; its class need not be known."""
    if not isinstance(node, Call) or not node.states:
        return False
    held = attributes(node)
    return "_modules" in held and ("_parameters" in held or "_buffers" in held)


def torch_parts(node: Call) -> Parts:
    """Parameters, then persistent buffers, then children: nn.Module.state_dict's order."""
    held = attributes(node)
    hidden = _strings(held.get("_non_persistent_buffers_set"))
    tensors = registered(held, "_parameters")
    tensors += [(name, value) for name, value in registered(held, "_buffers") if name not in hidden]
    children = registered(held, "_modules")
    # A child without a module's attributes is no child to walk, but must not vanish either.
    tensors += [(name, child) for name, child in children if not is_module(child)]
    return Parts(class_path(node), tensors, [(name, child) for name, child in children if is_module(child)])


def registered(held: dict[Key, object], table: str) -> list[tuple[Key, object]]:
    """The items of one of a module's tables; a table that is none stands for itself, so that it gets reported."""
    if table not in held:
        return []
    items = named_entries(held[table])
    return [(table, held[table])] if items is None else items


def _strings(node: object) -> set[str]:
    if call_path(node) == "builtins.set" and isinstance(node, Call) and node.args:
        node = node.args[0]
    items = node.items if isinstance(node, Bag | Call) else node
    if not isinstance(items, list | tuple):
        return set()
    if len(items) > _MOST_HIDDEN:
        raise Abuse(f"a module has more than {_MOST_HIDDEN:,} non-persistent buffers")
    return {item for item in items if isinstance(item, str)}


def walk(root: Call, parts_of: Callable[[Call], Parts], budget: Budget) -> tuple[list[Slot], dict[str, str]]:
    """Slots in depth-first order and classes by dotted path; shared modules appear under each of their names."""
    slots: list[Slot] = []
    types: dict[str, str] = {}
    known: dict[int, Parts] = {}
    stack: list[tuple[str, int, object]] = [("", 0, root)]
    while stack:
        path, depth, node = stack.pop()
        if not isinstance(node, Call):
            continue
        if depth > _DEEPEST_MODULE:
            raise Abuse(f"its modules are nested more than {_DEEPEST_MODULE} deep")
        parts = known.get(id(node)) or parts_of(node)
        known[id(node)] = parts
        budget.spend(1 + len(parts.tensors) + len(parts.children))
        types[path] = parts.type
        prefix = f"{path}." if path else ""
        held = [
            (checked_name(prefix + str(name)), value) for name, value in parts.tensors if value is not None
        ]
        slots.extend(Slot(name, value, True) for name, value in held)
        stack.extend(
            (checked_name(prefix + str(name)), depth + 1, child) for name, child in reversed(parts.children)
        )
    return slots, types
