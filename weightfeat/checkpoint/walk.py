"""Walking a pickled nn.Module: parameters, buffers, children, with a stack of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from weightfeat.checkpoint.faults import Abuse
from weightfeat.checkpoint.layers import is_matrix, refuse_hidden, refuse_unused
from weightfeat.checkpoint.nodes import (
    Bag,
    Call,
    Key,
    Table,
    attributes,
    call_path,
    class_path,
    describe,
    entries,
    named_entries,
)
from weightfeat.checkpoint.outside import Beside, Composed, is_empty, runs_of

_DEEPEST_MODULE = 100
_LONGEST_NAME = 512
_MOST_HIDDEN = 1000
_MOST_LOOKED_AT = 1000
_TABLES = ("_parameters", "_buffers", "_modules")
PACKED = "_packed_params"
_PACKS = "__torch__.torch.classes.quantized.LinearPackedParamsBase"


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
    """Bounds the walk of graphs that share their parts: n objects can have 2**n paths, each with a name."""

    most: int = 100_000
    most_text: int = 16 << 20
    visits: int = 0
    text: int = 0

    def spend(self, visits: int) -> None:
        self.visits += visits
        if self.visits > self.most:
            raise Abuse(f"its objects are shared so that they have more than {self.most:,} names")

    def name(self, name: str) -> str:
        """The name itself, its length counted; raises Abuse for one of absurd length, or for too many."""
        self.text += len(checked_name(name))
        if self.text > self.most_text:
            raise Abuse(f"the names of its tensors have more than {self.most_text:,} characters")
        return name


@dataclass(frozen=True)
class Parts:
    """What one module holds: its class, the tensors of its own, its children, and what else it may compute with."""

    type: str
    tensors: Sequence[tuple[Key, object]]
    children: Sequence[tuple[Key, object]]
    attributes: Sequence[tuple[Key, object]] = ()
    buffers: Sequence[tuple[Key, object]] = ()
    runs: Sequence[str] = ()
    unread: Sequence[tuple[Key, object]] = ()


@dataclass(frozen=True)
class Walked:
    """A module's slots in depth-first order, classes by dotted path, and what lies `beside` the slots."""

    slots: list[Slot]
    types: dict[str, str]
    beside: Beside


def is_module(node: object) -> TypeGuard[Call]:
    """Whether an object has the attributes every nn.Module has; its class need not be known."""
    if not isinstance(node, Call) or not node.states:
        return False
    held = attributes(node)
    return "_modules" in held and ("_parameters" in held or "_buffers" in held)


def torch_parts(node: Call) -> Parts:
    """Parameters, then persistent buffers, then children: nn.Module.state_dict's order.

    Raises
    ------
    Abuse : a module that may hold something else than that: a state that is no plain dict, items set in it, an
        attribute that Python would find before the entry of the same name.
    Unsupported : a layer of torch's that holds weights it does not compute with, or computes with hidden ones.
    """
    refuse_disguise(node)
    held, path = attributes(node), class_path(node)
    hidden = _strings(held.get("_non_persistent_buffers_set"))
    tables = {table: registered(held, table) for table in _TABLES}
    buffers = [(name, value) for name, value in tables["_buffers"] if name not in hidden]
    tensors, children = [*tables["_parameters"], *buffers], tables["_modules"]
    # A child without a module's attributes is no child to walk, but must not vanish either.
    tensors += [(name, child) for name, child in children if not is_module(child)]
    packed = _packed_linear(held.get(PACKED))
    tensors += [] if packed is None else [(PACKED, packed)]
    others = held.keys() - tables.keys() - ({PACKED} if packed is not None else set())
    for name in others & {name for items in tables.values() for name, _ in items}:
        raise Abuse(f"a module has an attribute {describe(name)} before its entry of that name")
    unlisted = [(name, value) for name, value in tables["_buffers"] if name in hidden and value is not None]
    modules = [(name, child) for name, child in children if is_module(child)]
    refuse_unused(path, tensors, modules, _has_matrices)
    refuse_hidden(path, unlisted)
    parts = Composed.of(name for table in _TABLES[:2] for name, _ in tables[table])
    beside = [(name, held[name]) for name in held if name in others and not parts.makes(name)]
    return Parts(path, tensors, modules, beside, unlisted, list(runs_of(held, parts)))


def _has_matrices(module: Call) -> bool:
    """Whether a module's own tables, or its children's, hold a matrix, or more than can be looked at for that."""
    stack, looked_at = [module], 0
    while stack:
        held = attributes(stack.pop())
        tables = [entries(held.get(table)) or {} for table in _TABLES]
        looked_at += 1 + sum(map(len, tables))
        if looked_at > _MOST_LOOKED_AT or any(
            is_matrix(value) for table in tables[:2] for value in table.values()
        ):
            return True
        stack.extend(child for child in tables[2].values() if is_module(child))
    return False


def _packed_linear(node: object) -> tuple[object, ...] | None:
    """Weight and bias of a quantised linear layer, which lie in the state of the object that packs them."""
    state = node.states[-1] if isinstance(node, Call) and node.states and len(node.states) == 1 else None
    if isinstance(state, tuple) and len(state) == 2 and state[1] == _PACKS and isinstance(state[0], tuple):
        return state[0]
    return None


def refuse_disguise(node: Call) -> None:
    """Raises Abuse for a module that is given items, or a state that is no plain dict."""
    if node.items or node.table is not None:
        raise Abuse("a module is given items after it is made")
    for state in node.states or ():
        if state is not None and not (isinstance(state, Table) and not state.odd):
            raise Abuse("a module's state is no plain dict")


def registered(held: dict[Key, object], table: str) -> list[tuple[Key, object]]:
    """The items of one of a module's tables; a table that is none stands for itself, so that it gets reported."""
    if table not in held:
        return []
    items = named(held[table])
    return [(table, held[table])] if items is None else items


def named(node: object) -> list[tuple[Key, object]] | None:
    """`named_entries` of a mapping of tensors or modules. Raises Abuse for keys that are made, or float: Python may
    find them equal to a plain one."""
    table = node.table if isinstance(node, Call) else node
    for key, _ in (table.odd or ()) if isinstance(table, Table) else ():
        if isinstance(key, Call | float):
            raise Abuse("a key of its tensors is no plain one")
    return named_entries(node)


def _strings(node: object) -> set[str]:
    if call_path(node) == "builtins.set" and isinstance(node, Call) and node.args:
        node = node.args[0]
    items = node.items if isinstance(node, Bag | Call) else node
    if not isinstance(items, list | tuple):
        return set()
    if len(items) > _MOST_HIDDEN:
        raise Abuse(f"a module has more than {_MOST_HIDDEN:,} non-persistent buffers")
    return {item for item in items if isinstance(item, str)}


def walk(root: Call, parts_of: Callable[[Call], Parts], budget: Budget) -> Walked:
    """Everything below `root`; shared modules appear under each of their names, what lies beside them under one."""
    slots: list[Slot] = []
    types: dict[str, str] = {}
    beside = Beside()
    known: dict[int, Parts] = {}
    stack: list[tuple[str, int, object]] = [("", 0, root)]
    while stack:
        path, depth, node = stack.pop()
        if not isinstance(node, Call):
            continue
        if depth > _DEEPEST_MODULE:
            raise Abuse(f"its modules are nested more than {_DEEPEST_MODULE} deep")
        prefix = f"{path}." if path else ""
        parts = known.get(id(node))
        if parts is None:
            parts = known[id(node)] = parts_of(node)
            _note(parts, prefix, beside, budget)
        budget.spend(1 + len(parts.tensors) + len(parts.children))
        types[path] = parts.type
        held = [(budget.name(f"{prefix}{name}"), value) for name, value in parts.tensors if value is not None]
        slots.extend(Slot(name, value, True) for name, value in held)
        stack.extend(
            (budget.name(f"{prefix}{name}"), depth + 1, child) for name, child in reversed(parts.children)
        )
    return Walked(slots, types, beside)


def _note(parts: Parts, prefix: str, beside: Beside, budget: Budget) -> None:
    budget.spend(len(parts.attributes) // 8 + len(parts.buffers) + len(parts.runs) + len(parts.unread))
    beside.attributes += [
        (budget.name(f"{prefix}{name}"), value) for name, value in parts.attributes if _holds(value)
    ]
    beside.buffers += [(budget.name(f"{prefix}{name}"), value) for name, value in parts.buffers]
    beside.unread += [budget.name(f"{prefix}{name}") for name, _ in parts.unread]
    beside.runs += [budget.name(f"{prefix}{name}") for name in parts.runs]


def _holds(value: object) -> bool:
    """Whether an attribute may hold anything: most are numbers, and hooks that there are none of."""
    return isinstance(value, Call) or (isinstance(value, list | tuple | Table) and not is_empty(value))
