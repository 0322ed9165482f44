"""Networks that a file keeps in several mappings: a body and its head, or one mapping a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from weightfeat.checkpoint.nodes import named_entries
from weightfeat.checkpoint.storages import is_tensor
from weightfeat.checkpoint.walk import PACKED, Budget, Slot, checked_name

Where = tuple[str, ...]

_BODIES = frozenset(
    {"backbone", "base", "body", "encoder", "extractor", "feature_extractor", "features", "trunk"}
)
_HEADS = frozenset({"classifier", "cls_head", "fc", "head", "linear", "logits"})
_LEAVES = frozenset(
    {"weight", "bias", "running_mean", "running_var", "num_batches_tracked", "gamma", "beta", "kernel"}
)
_DEEPEST = 20


def head_and_body(where: Where, slots: Mapping[Where, Sequence[Slot]]) -> list[Slot] | None:
    """The slots of a body and of the heads beside it, each under its key; None where `where` is no such body, or has
    a head of its own."""
    own = slots[where]
    if not where or where[-1] not in _BODIES or any(slot.name.split(".")[-2:][0] in _HEADS for slot in own):
        return None
    heads = [
        place
        for place in slots
        if place[:-1] == where[:-1] and place[-1] in _HEADS and len(place) == len(where)
    ]
    if not heads:
        return None
    return [_under(place[-1], slot) for place in (where, *heads) for slot in slots[place]]


def is_module_leaf(slots: Sequence[Slot]) -> bool:
    """Whether a mapping holds the tensors of one module, under their bare names."""
    return 0 < len(slots) <= len(_LEAVES) and all(slot.name in _LEAVES for slot in slots)


def is_weight(name: str) -> bool:
    """Whether a tensor is called as weights and a norm's vectors are."""
    return name.rpartition(".")[2] in _LEAVES


def start_of(key: str, names: Sequence[str]) -> str:
    """What the names under a key begin with: the key and a dot, as modules have it, or an underscore ("ema_conv1")."""
    starts = (f"{key}.", key if key.endswith("_") else f"{key}_")
    return next((start for start in starts if any(name.startswith(start) for name in names)), starts[0])


def tree_around(where: Where, root: object) -> list[Slot] | None:
    """The tensors of the largest mapping of mappings on the way from the root to `where` that holds nothing else, under
    dotted names and in the order they are kept; None where there is none."""
    node, budget = root, Budget()
    for part in where:
        try:
            return list(_leaves(node, "", budget, 0))
        except _NoTree:
            node = {str(key): value for key, value in named_entries(node) or ()}.get(part)
    return None


class _NoTree(Exception):
    """A mapping holds something else than tensors and mappings of them."""


def _leaves(node: object, prefix: str, budget: Budget, depth: int) -> Iterator[Slot]:
    held = named_entries(node)
    if held is None or depth > _DEEPEST:
        raise _NoTree
    budget.spend(1 + len(held))
    for key, value in held:
        name = checked_name(f"{prefix}{key}")
        if is_tensor(value):
            yield Slot(name, value, False)
        else:
            yield from _leaves(value, f"{name}.", budget, depth + 1)


def unpacked(slots: Sequence[Slot]) -> list[Slot]:
    """torch's quantised linear layers keep weight and bias as a pair, under the name of what packs them."""
    return [plain for slot in slots for plain in _unpacked(slot)]


def _unpacked(slot: Slot) -> Iterator[Slot]:
    pair, path = slot.node, slot.name.split(".")
    if path[-1] != PACKED or not isinstance(pair, tuple) or len(pair) != 2 or not is_tensor(pair[0]):
        yield slot
        return
    while path and path[-1] == PACKED:
        path.pop()
    for leaf, node in zip(("weight", "bias"), pair, strict=True):
        if node is not None:
            yield Slot(".".join([*path, leaf]), node, certain=True)


def _under(key: str, slot: Slot) -> Slot:
    return replace(slot, name=checked_name(f"{key}.{slot.name}"))
