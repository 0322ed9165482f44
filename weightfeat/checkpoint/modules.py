"""Which object of a pickle's graph is the network, and its tensors by name in module order."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from weightfeat.checkpoint.audit import is_foreign
from weightfeat.checkpoint.faults import Abuse, Unreadable, Unsupported
from weightfeat.checkpoint.joining import (
    head_and_body,
    is_module_leaf,
    is_weight,
    start_of,
    tree_around,
    unpacked,
)
from weightfeat.checkpoint.nodes import Call, Key, Table, class_path, describe, is_mapping, named_entries
from weightfeat.checkpoint.outside import Beside, contents, outside_tables
from weightfeat.checkpoint.pickled_arrays import ARRAY_MAKERS, is_array, is_array_of_weights
from weightfeat.checkpoint.storages import TensorReader, is_tensor
from weightfeat.checkpoint.types import MOST_FINDINGS, Finding, StoredTensor, capped
from weightfeat.checkpoint.walk import Budget, Slot, is_module, named, torch_parts, walk

_MOST_NOTES = 10
_KEYS_KEPT = 6
_KEY_SHOWN = 100
_MOST_PLACES = 2_000_000
_HOLDERS = (Table, Call, list, tuple)
_LEFT_OUT = "are not part of the network analysed"
_WORTHY = 4
"""What has at least this share of another's tensors may be a network as well as that one."""

# What scripts call the network in a dict of several things, first choice first.
NETWORK_KEYS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "netC", "classifier", "module"),
    *("model_state", "net_state_dict", "weights", "params"),
)


@dataclass(frozen=True)
class Found:
    """A network's tensors in order, its modules' classes, and what could not be read."""

    tensors: tuple[StoredTensor, ...]
    module_types: MappingProxyType[str, str]
    findings: tuple[Finding, ...]


@dataclass(eq=False)
class _Candidate:
    """An object that may be the network: where it was found, and its slots; `source` is the mapping that it is."""

    where: tuple[str, ...]
    slots: list[Slot]
    types: dict[str, str] = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)
    is_sequence: bool = False
    maker: str = ""
    source: object = None

    @property
    def key(self) -> str:
        return next((part for part in reversed(self.where) if not part.isdecimal()), "")

    @property
    def is_optimizer_state(self) -> bool:
        return any("optim" in key.lower() for key in self.where)

    @property
    def count(self) -> int:
        return sum(is_tensor(slot.node) or is_array(slot.node) for slot in self.slots)


def find_network(root: object, reader: TensorReader, key: str | None = None) -> Found:
    """Name every tensor of the network in `root`, in the order of its own state_dict().

    The network is the module or mapping with most tensors, however deep in dicts, lists and objects it lies, an
    optimiser's state apart; one under a customary key is preferred unless it is under a quarter of the largest. `key`
    names another: the last key of its mapping, the keys to it joined by dots, or what its tensors' names begin with.
    Raises Unsupported when nothing holds a tensor that can be read, or nothing is under the key.
    """
    candidates = [found for found in _candidates(root) if found.count]
    if not candidates:
        raise Unsupported("no tensor of a network was found in it")
    chosen = _choose(candidates) if key is None else _under_key(candidates, key)
    if chosen.maker:
        raise Unsupported(
            f"its tensors lie in an object of {chosen.maker}, which may make anything of its items"
        )
    named(chosen.source)  # the keys of other mappings may be of any kind
    chosen.slots = unpacked(_whole(chosen, candidates, root))
    tensors, findings = read_slots(chosen.slots, reader)
    nodes = [slot.node for slot in chosen.slots]
    findings += [*outside_tables(chosen.beside, nodes, reader), *_left_out(chosen, candidates)]
    return Found(tuple(tensors), MappingProxyType(chosen.types), tuple(findings))


def _under_key(candidates: list[_Candidate], key: str) -> _Candidate:
    """The candidate under a key, or those tensors of the one usually taken whose names begin with it."""
    held = [found for found in candidates if found.where and key in (found.where[-1], ".".join(found.where))]
    if held:
        return max(held, key=lambda found: found.count)
    chosen = _choose(candidates)
    start = start_of(key, [slot.name for slot in chosen.slots])
    slots = [
        replace(slot, name=slot.name[len(start) :]) for slot in chosen.slots if slot.name.startswith(start)
    ]
    if not slots:
        known = dict.fromkeys([".".join(found.where) for found in candidates if found.where])
        raise Unsupported(f"nothing is under the key {describe(key)}; there are {', '.join(known) or 'none'}")
    return replace(chosen, slots=slots)


def _whole(chosen: _Candidate, candidates: list[_Candidate], root: object) -> list[Slot]:
    """The candidate's slots, with those of the other mappings that the same network is kept in."""
    if is_module_leaf(chosen.slots) and len(candidates) > 1:
        return tree_around(chosen.where, root) or chosen.slots
    mappings = {found.where: found.slots for found in reversed(candidates) if not found.is_sequence}
    joined = head_and_body(chosen.where, mappings) if chosen.where in mappings else None
    return joined or chosen.slots


def _left_out(chosen: _Candidate, candidates: list[_Candidate]) -> list[Finding]:
    """A note for each part of the file that holds tensors of something else, a finding where it may be a network.

    Where one may be, the key of the one analysed is said first.
    """
    counts: Counter[str] = Counter()
    networks: list[str] = []
    included = {id(slot.node) for slot in chosen.slots}
    for other in candidates:
        if other.is_sequence or all(id(slot.node) in included for slot in other.slots):
            continue
        same_part = other.where[:1] == chosen.where[:1]
        part = (_label(other.where) if same_part else other.where[0]) if other.where else ""
        counts[part] += other.count
        alike = other.count * _WORTHY >= chosen.count or other.key in NETWORK_KEYS
        if alike and not other.is_optimizer_state:
            networks.append(part)
    taken = f"analysed is what is under {describe('.'.join(chosen.where))}; --key takes another part"
    first = [Finding("note", taken)] if networks and chosen.where else []
    return first + [
        Finding(
            "second-network" if part in networks else "note", f"{count} tensors {_place(part)} {_LEFT_OUT}"
        )
        for part, count in counts.most_common(_MOST_NOTES)
    ]


def _label(where: tuple[str, ...]) -> str:
    """The last key on the way; a place in a list with the key of the list."""
    return ".".join(where[-2:]) if where[-1].isdecimal() else where[-1]


def _place(part: str) -> str:
    return f"under {describe(part)}" if part else "at the top of the file"


def _choose(candidates: list[_Candidate]) -> _Candidate:
    mappings = [found for found in candidates if not found.is_sequence] or candidates
    pool = [found for found in mappings if not found.is_optimizer_state] or mappings
    largest = max(found.count for found in pool)
    worthy = [found for found in pool if found.count * _WORTHY >= largest]

    def rank(found: _Candidate) -> tuple[int, int]:
        known = NETWORK_KEYS.index(found.key) if found.key in NETWORK_KEYS else len(NETWORK_KEYS)
        return known, -found.count

    return min(worthy, key=rank)


def _candidates(root: object) -> Iterator[_Candidate]:
    """Breadth first through everything but modules, each object once."""
    search, names = Budget(_MOST_PLACES), Budget()
    queue: deque[tuple[tuple[str, ...], object]] = deque([((), root)])
    seen: set[int] = set()
    while queue:
        where, node = queue.popleft()
        if id(node) in seen or not isinstance(node, _HOLDERS) or is_tensor(node) or is_array(node):
            continue
        seen.add(id(node))
        if is_module(node):
            walked = walk(node, torch_parts, names)
            yield _Candidate(where, walked.slots, walked.types, walked.beside)
            continue
        _refuse_made_tensor("it", node)
        inside = list(_inside(node))
        if any(is_tensor(value) or (is_array_of_weights(value) and is_mapping(node)) for _, value in inside):
            yield _flat_candidate(where, node, names)
        search.spend(1 + len(inside))
        queue.extend((_below(where, name), value) for name, value in inside if isinstance(value, _HOLDERS))


def _flat_candidate(
    where: tuple[str, ...], node: Table | Call | list[object] | tuple[object, ...], names: Budget
) -> _Candidate:
    """A mapping by its keys; a sequence, or what an instance holds beside items, by position."""
    held = named_entries(node)
    if held is not None:
        names.spend(len(held))
        slots = [Slot(names.name(str(name)), value, False) for name, value in held]
        return _Candidate(where, slots, maker="" if is_mapping(node) else _maker(node), source=node)
    slots = [Slot(str(index), value, False) for index, (_, value) in enumerate(_inside(node))]
    return _Candidate(where, slots, is_sequence=True)


def _maker(node: object) -> str:
    return class_path(node)[:_KEY_SHOWN] or "no known class" if isinstance(node, Call) else ""


def _inside(node: Table | Call | list[object] | tuple[object, ...]) -> Iterator[tuple[Key, object]]:
    """What an object holds; of a mapping its entries alone, for it hands out nothing else, of a list by place."""
    if isinstance(node, list | tuple):
        return ((str(place), value) for place, value in enumerate(node))
    return iter(named_entries(node) or ()) if is_mapping(node) else contents(node)


def _below(where: tuple[str, ...], name: Key) -> tuple[str, ...]:
    """The keys on the way, the first few and the last: enough to say where something is, however deep."""
    return where if name is None else (*where[:_KEYS_KEPT], str(name)[:_KEY_SHOWN])


def read_slots(slots: list[Slot], reader: TensorReader) -> tuple[list[StoredTensor], list[Finding]]:
    """Name the arrays of slots; what cannot be read becomes a finding. Raises Unsupported when nothing can be."""
    tensors: list[StoredTensor] = []
    faults: list[Finding] = []
    more = 0
    for slot in slots:
        try:
            array = reader.read(slot.node)
            if array is None:
                _check_not_a_tensor(slot)
        except Unreadable as fault:
            more += len(faults) == MOST_FINDINGS
            if len(faults) < MOST_FINDINGS:
                about = slot.name if slot.certain or is_weight(slot.name) else ""
                faults.append(Finding("unreadable-tensor", f"{describe(slot.name)}: {fault}", about))
            continue
        if array is not None:
            tensors.append(StoredTensor(slot.name, array.dtype, array.data))
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise Abuse("it has two tensors of one name")
    if not tensors:
        reason = f" ({faults[0].detail})" if faults else ""
        raise Unsupported(f"none of its tensors can be read{reason}")
    return tensors, [*faults, *capped("unreadable-tensor", (), more)]


def _check_not_a_tensor(slot: Slot) -> None:
    """Raises Unreadable for what should be a tensor or may be one: a parameter or buffer must be, and in a mapping any
    object may be of which that is not known; Abuse for what torch would make a tensor of in a way it never writes.
    """
    node = slot.node
    if not isinstance(node, Call):
        if slot.certain:
            raise Unreadable(f"it is {describe(node)}")
        return
    path = class_path(node)
    _refuse_made_tensor(describe(slot.name), node)
    if slot.certain or is_foreign(node) or path in ARRAY_MAKERS:
        raise Unreadable(f"it is made by {describe(node)}")


def _refuse_made_tensor(name: str, node: object) -> None:
    """Raises Abuse for a call of a tensor's class: torch would make a tensor of it, perhaps of another's values."""
    path = class_path(node) if isinstance(node, Call) else ""
    if path.startswith("torch.") and path.endswith(_TENSOR_CLASSES):
        raise Abuse(f"{name} is made by {describe(node)}, as torch.save never makes a tensor")


_TENSOR_CLASSES = ("Tensor", "Parameter", "Buffer")
