"""The inert objects a pickle is read into: names, recorded calls, tables. None of them does anything."""

from __future__ import annotations

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from dataclasses import dataclass, field

Key = str | int | None

_TEXT_SHOWN = 100
_ITEMS_SHOWN = 4
_DEPTH_SHOWN = 2
_KEY_BITS = 63


@dataclass(slots=True, eq=False, repr=False)
class Global:
    """A name the pickle refers to, in Python 3's spelling; it was never imported."""

    module: str
    name: str

    @classmethod
    def named(cls, module: str, name: str) -> Global:
        """Python 2 names are translated as the real unpickler would, so that none hides behind its old one."""
        renamed = NAME_MAPPING.get((module, name))
        if renamed is not None:
            return cls(*renamed)
        return cls(IMPORT_MAPPING.get(module, module), name)

    @property
    def path(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False, repr=False)
class Table:
    """A dict. Keys that are not plain go to `odd` unhashed: hashing a deep tuple would exhaust the C stack."""

    entries: dict[Key, object] = field(default_factory=dict)
    odd: list[tuple[object, object]] | None = None

    def put(self, key: object, value: object) -> None:
        if key is None or isinstance(key, str) or (isinstance(key, int) and key.bit_length() <= _KEY_BITS):
            self.entries[key] = value
        elif self.odd is None:
            self.odd = [(key, value)]
        else:
            self.odd.append((key, value))


@dataclass(slots=True, eq=False, repr=False)
class Bag:
    """A set or frozenset, kept as the list of what was put in."""

    items: list[object] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class Persistent:
    """A persistent id: torch's storages, and in its legacy format the classes of modules."""

    pid: object


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A call the pickle asks for and nobody made, and what its result was given: states (BUILD), items, entries."""

    opcode: str
    function: object
    args: tuple[object, ...]
    states: list[object] | None = None
    items: list[object] | None = None
    table: Table | None = None
    attributes: dict[Key, object] | None = None

    def build(self, state: object) -> int:
        """Take a state, and its attributes by value as `__dict__.update` does: the dict given may change later.

        Returns how many attributes were copied.
        """
        self.states = [] if self.states is None else self.states
        self.states.append(state)
        tables = state_tables(state)
        for table in tables:
            self.attributes = {} if self.attributes is None else self.attributes
            self.attributes.update(table.entries)
        return sum(len(table.entries) for table in tables)


def state_tables(state: object) -> list[Table]:
    """The dicts a state is made of: objects with __slots__ are pickled with (dict, slots)."""
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    return [part for part in parts if isinstance(part, Table)]


def function_path(node: object) -> str:
    """Dotted name of a callable or class; "" when it is not a plain name."""
    if isinstance(node, Persistent):
        pid = node.pid
        node = pid[1] if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module" else None
    return node.path if isinstance(node, Global) else ""


def call_path(node: object) -> str:
    """Dotted name of what a call calls; "" for anything else."""
    return function_path(node.function) if isinstance(node, Call) else ""


_RECONSTRUCTOR = "copyreg._reconstructor"
MAPPINGS = frozenset(
    {"builtins.dict", "collections.OrderedDict", "collections.Counter", "collections.defaultdict"}
)
"""Classes whose instances hold what is put into them, and hand out nothing else for it."""


def is_reconstructed(node: Call) -> bool:
    """Whether an instance is made by copyreg's function for the oldest protocols."""
    return not node.opcode.startswith("NEWOBJ") and call_path(node) == _RECONSTRUCTOR and bool(node.args)


def class_path(node: Call) -> str:
    """Class of an instance, whichever way the protocol spells its making."""
    return function_path(node.args[0] if is_reconstructed(node) else node.function)


def is_mapping(node: object) -> bool:
    """Whether an object is a dict or one of Python's own kinds of it, so that what it holds is known."""
    return isinstance(node, Table) or (isinstance(node, Call) and class_path(node) in MAPPINGS)


def entries(node: object) -> dict[Key, object] | None:
    """What a mapping holds, or an instance of any class that was given items; None for anything else."""
    if isinstance(node, Table):
        return node.entries
    if isinstance(node, Call) and node.table is not None:
        return node.table.entries
    return None


def named_entries(node: object) -> list[tuple[Key, object]] | None:
    """`entries` with those under odd keys at the end, their keys described: whatever a mapping holds has a name."""
    held = entries(node)
    if held is None:
        return None
    table = node.table if isinstance(node, Call) else node
    odd = (table.odd or ()) if isinstance(table, Table) else ()
    return [*held.items(), *((describe(key), value) for key, value in odd)]


def attributes(node: object) -> dict[Key, object]:
    """An instance's attributes, as its states left them."""
    return node.attributes or {} if isinstance(node, Call) else {}


def describe(node: object, depth: int = _DEPTH_SHOWN) -> str:
    """One short printable line about a node, whatever its size or depth."""
    if isinstance(node, str):
        return repr(node if len(node) <= _TEXT_SHOWN else node[:_TEXT_SHOWN] + "...")
    if isinstance(node, memoryview):
        return f"<{len(node)} bytes>"
    if isinstance(node, int) and node.bit_length() > _KEY_BITS + 1:
        return "<large integer>"
    if node is None or isinstance(node, bool | int | float):
        return repr(node)
    if isinstance(node, Persistent) and function_path(node):
        return f"<persistent {function_path(node)[:_TEXT_SHOWN]}>".encode("unicode_escape").decode()
    if isinstance(node, Global):
        return node.path[:_TEXT_SHOWN].encode("unicode_escape").decode()
    if isinstance(node, Call):
        name = describe(node.function, depth - 1) if depth > 0 else "..."
        return f"{name}({_describe_all(node.args, depth)})"
    if isinstance(node, tuple):
        return f"({_describe_all(node, depth)})"
    if isinstance(node, list):
        return f"[{_describe_all(node, depth)}]"
    return f"<{type(node).__name__.lower()}>"


def _describe_all(items: tuple[object, ...] | list[object], depth: int) -> str:
    if depth <= 0:
        return "..." if items else ""
    shown = [describe(item, depth - 1) for item in items[:_ITEMS_SHOWN]]
    return ", ".join(shown + ["..."] * (len(items) > _ITEMS_SHOWN))
