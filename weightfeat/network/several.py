"""Several networks side by side under one roof of names: a student and its teacher, weights and their average."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import Checkpoint, StoredTensor

_SEPARATORS = re.compile(r"[._]")
_DEEPEST = 3
_FEWEST_WEIGHTS = 2
_SHARE = 0.9
"""Of the weights of the smaller network, those that the larger one must have too, and of all weights of a file, those
that two networks must make up, before a file holds two of them."""
_LEAST = 0.4
"""Share of a file's weights that each of two networks has at least."""
_IMAGE = (1, 3, 4)
# What scripts call a network that stands beside the one they train.
_SECOND = re.compile(r"ema|average|swa|teacher|momentum|shadow|target|_k(ey)?[._]|copy|old", re.IGNORECASE)


@dataclass(frozen=True)
class _Group:
    """Tensors whose names begin with a prefix, by what follows it without dots and underscores, and by shape."""

    prefix: str
    tensors: tuple[StoredTensor, ...]
    weights: frozenset[tuple[str, tuple[int, ...]]]


def one_of_several(checkpoint: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """One of two networks of the same layers that a file holds under two prefixes, and what to say of it.

    Both must take an image, and together be nearly all of the file: branches and blocks of one network are alike too.
    Taken is the one whose prefix does not call it an average, a teacher or a copy, else the first.
    """
    weights = [tensor for tensor in checkpoint.tensors if tensor.data.ndim > 1]
    groups = [group for prefix in _prefixes(weights) if (group := _group(prefix, weights))]
    for number, first in enumerate(groups):
        for second in groups[number + 1 :]:
            pair = _pair(first, second, weights)
            if pair is not None:
                return _chosen(checkpoint, *pair)
    return checkpoint, ()


def _prefixes(weights: Sequence[StoredTensor]) -> list[str]:
    """What names of several weights begin with, up to a dot or an underscore, short ones first; and nothing at all."""
    found: dict[str, int] = {"": len(weights)}
    for tensor in weights:
        ends = [match.end() for match in _SEPARATORS.finditer(tensor.name)][:_DEEPEST]
        for end in ends:
            found[tensor.name[:end]] = found.get(tensor.name[:end], 0) + 1
    least = max(_FEWEST_WEIGHTS, _LEAST * len(weights))
    return [prefix for prefix, count in found.items() if count >= least]


def _group(prefix: str, weights: Sequence[StoredTensor]) -> _Group | None:
    held = tuple(tensor for tensor in weights if tensor.name.startswith(prefix))
    if not any(tensor.data.ndim > 2 and tensor.shape[1] in _IMAGE for tensor in held):
        return None
    return _Group(prefix, held, frozenset((_bare(t.name[len(prefix) :]), t.shape) for t in held))


def _bare(name: str) -> str:
    return _SEPARATORS.sub("", name)


def _pair(first: _Group, second: _Group, weights: Sequence[StoredTensor]) -> tuple[_Group, _Group] | None:
    """The groups as two networks of the same weights; None where they are none. One of them may have no prefix."""
    if first.prefix.startswith(second.prefix):
        first, second = second, first
    if second.prefix.startswith(first.prefix):
        own = {id(tensor) for tensor in second.tensors}
        held = tuple(tensor for tensor in first.tensors if id(tensor) not in own)
        start = _shared(held)
        first = _Group(start, held, frozenset((_bare(t.name[len(start) :]), t.shape) for t in held))
    both = len(first.weights & second.weights)
    smaller = min(len(first.weights), len(second.weights))
    covered = len(first.tensors) + len(second.tensors) >= _SHARE * len(weights)
    if both < max(_FEWEST_WEIGHTS, _SHARE * smaller) or not covered or smaller < _LEAST * len(weights):
        return None
    return first, second


def _shared(tensors: Sequence[StoredTensor]) -> str:
    """The modules that all names begin with."""
    paths = [tensor.name.split(".")[:-1] for tensor in tensors]
    depth = 0
    while (
        paths and all(len(path) > depth + 1 for path in paths) and len({path[depth] for path in paths}) == 1
    ):
        depth += 1
    return "".join(f"{part}." for part in paths[0][:depth]) if paths else ""


def _chosen(checkpoint: Checkpoint, first: _Group, second: _Group) -> tuple[Checkpoint, tuple[str, ...]]:
    taken, other = (
        (second, first)
        if _SECOND.search(first.prefix) and not _SECOND.search(second.prefix)
        else (first, second)
    )
    own = {id(tensor) for tensor in other.tensors}
    if taken.prefix.startswith(other.prefix):
        kept = tuple(tensor for tensor in checkpoint.tensors if tensor.name.startswith(taken.prefix))
    else:
        start, stems = other.prefix, {tensor.name.rpartition(".")[0] for tensor in other.tensors}
        kept = tuple(
            tensor
            for tensor in checkpoint.tensors
            if id(tensor) not in own
            and not (start and tensor.name.startswith(start) and not taken.prefix.startswith(start))
        )
        kept = (
            tuple(tensor for tensor in kept if tensor.name.rpartition(".")[0] not in stems)
            if not start
            else kept
        )
    names = [describe(group.prefix.rstrip("._") or "no prefix") for group in (taken, other)]
    note = f"of two networks of the same layers, {names[0]} and {names[1]}, the first was analysed; --key takes another"
    return replace(checkpoint, tensors=kept), (note,)
