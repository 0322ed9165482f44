"""Which of the tabled architectures a file holds: shapes decide, names and order only say which tensor is which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from weightfeat.checkpoint.types import StoredTensor
from weightfeat.network.beside import are_beside, is_constant, is_kept_by_trainer, is_watching
from weightfeat.network.grouping import modules_of
from weightfeat.network.structure import by_structure, reshaped
from weightfeat.network.table import ANY, CLASSES, Entry, LayerRow, NormRow, Shape, entries
from weightfeat.network.tensors import natural_order

_MOST_BETWEEN = 4
"""Tensors that may stand between an entry's, times as many: counters and observers in every module."""


@dataclass(frozen=True, eq=False)
class Match:
    """An entry and the file's tensors under the entry's names.

    `exact` is False when names and wiring agree and shapes do not: a variant, such as a ResNet with a smaller stem.
    `structural` is True where other names and another order were read as the entry's.
    """

    entry: Entry
    tensors: dict[str, StoredTensor]
    exact: bool
    extras: tuple[StoredTensor, ...] = ()
    structural: bool = False


def recognise(tensors: Sequence[StoredTensor], *, ordered: bool) -> Match | None:
    """The architecture whose shapes these are, at any class count above one; None where none fits.

    Tried in turn: torchvision's names (under any prefix, in any order), the file's order whatever the names,
    blocks and natural order of the names, and last the names of an architecture over other shapes. What lies beside
    the network is left out where names or shapes tell it apart.
    """
    largest_first = sorted(entries(), key=lambda entry: len(entry.tensors), reverse=True)
    named_tensors = {modern(tensor.name): tensor for tensor in tensors}
    named = [match for entry in largest_first if (match := _by_name(entry, named_tensors))]
    sorted_ = natural_order(tensors)
    placed = tensors if ordered else sorted_
    return (
        next((match for match in named if match.exact), None)
        or next((match for entry in largest_first if (match := _by_position(entry, placed))), None)
        or _by_structure(largest_first, sorted_)
        or next((match for match in named if _wiring_holds(match)), None)
    )


def clash(tensors: Sequence[StoredTensor]) -> str | None:
    """The first name that two tensors have once old names are read as torchvision's."""
    seen: set[str] = set()
    for name in (modern(tensor.name) for tensor in tensors):
        if name in seen:
            return name
        seen.add(name)
    return None


def same_shapes(tensors: Sequence[StoredTensor]) -> tuple[Entry, tuple[int, ...]] | None:
    """The entry with exactly these shapes in some order, and its head's shape: for files without names or order."""
    found = Counter(tensor.shape for tensor in tensors)
    for entry in entries():
        fixed, templates = _templates(entry)
        if entry.aux or found.total() != len(entry.tensors) or not fixed <= found:
            continue
        rest = sorted((found - fixed).elements(), key=len, reverse=True)  # the head's weight, then its bias
        num_classes = rest[0][0]
        pairs = zip(rest, templates, strict=True)
        if num_classes > 1 and all(fits(shape, template, num_classes) for shape, template in pairs):
            return entry, rest[0]
    return None


def fits(shape: Sequence[int], template: Shape, num_classes: int) -> bool:
    """Whether a shape is the template's at this class count, or can be taken for it (`structure.reshaped`)."""
    taken = reshaped(shape, template)
    return taken is not None and all(
        wanted == ANY or size == (num_classes if wanted == CLASSES else wanted)
        for size, wanted in zip(taken, template, strict=True)
    )


def _by_name(entry: Entry, named: Mapping[str, StoredTensor]) -> Match | None:
    """Match on names alone; `exact` where the shapes agree too."""
    first = entry.tensors[0][0]
    for start in [name for name in named if name.endswith(first)]:
        prefix = start.removesuffix(first)
        if prefix and not prefix.endswith("."):
            continue
        if all(prefix + name in named for name, _ in entry.tensors):
            mapped = {name: named[prefix + name] for name, _ in entry.tensors}
            match = _match(entry, mapped, list(named.values()))
            # More weights than the table has: another, larger network with this one's names in it.
            names = [prefix + name for name in mapped]
            if match is not None and are_beside(match.extras, names, _classes(entry, mapped)):
                return match
    return None


def _by_position(entry: Entry, tensors: Sequence[StoredTensor]) -> Match | None:
    """Match on order alone: every tensor of the entry in its place, with at most a few others in between."""
    surplus, rest = len(tensors) - len(entry.tensors), iter(enumerate(tensors))
    places: list[int] = []
    if not 0 <= surplus <= _MOST_BETWEEN * len(entry.tensors):
        return None
    for _, template in entry.tensors:
        loose = tuple(ANY if size == CLASSES else size for size in template)
        place = next((place for place, tensor in rest if fits(tensor.shape, loose, 0)), None)
        if place is None or place - len(places) > surplus:
            return None
        places.append(place)
    mapped = {name: tensors[place] for (name, _), place in zip(entry.tensors, places, strict=True)}
    match = _match(entry, mapped, tensors)
    if match is None or not match.exact:
        return None
    own = [tensor.name for tensor in mapped.values()]
    modules = {name.rpartition(".")[0] for name in own}
    apart = all(
        is_constant(extra)
        or is_kept_by_trainer(extra.name, own)
        or extra.name.rpartition(".")[0] not in modules
        for extra in match.extras
    )
    return match if apart and are_beside(match.extras, own, _classes(entry, mapped)) else None


def _by_structure(largest_first: Sequence[Entry], tensors: Sequence[StoredTensor]) -> Match | None:
    """Match on blocks, shapes and natural order of names."""
    modules, _ = modules_of([tensor for tensor in tensors if not is_watching(tensor)])
    for entry in largest_first:
        mapped = by_structure(entry, modules)
        match = None if mapped is None else _match(entry, mapped, tensors)
        if mapped is not None and match is not None and match.exact:
            own = [tensor.name for tensor in mapped.values()]
            if are_beside(match.extras, own, _classes(entry, mapped)):
                return replace(match, structural=True)
    return None


def _match(entry: Entry, mapped: dict[str, StoredTensor], every: Sequence[StoredTensor]) -> Match | None:
    """The match of these tensors, in the entry's shapes where they are the entry's at all; the others are extras."""
    taken = {id(tensor) for tensor in mapped.values()}
    extras = tuple(tensor for tensor in every if id(tensor) not in taken)
    if not _shapes_agree(entry, mapped):
        return Match(entry, mapped, exact=False, extras=extras)
    return Match(entry, {name: _in_shape(mapped[name], shape) for name, shape in entry.tensors}, True, extras)


def _in_shape(tensor: StoredTensor, template: Shape) -> StoredTensor:
    shape = reshaped(tensor.shape, template)
    return tensor if shape in (None, tensor.shape) else replace(tensor, data=tensor.data.reshape(shape))


def _classes(entry: Entry, mapped: Mapping[str, StoredTensor]) -> int:
    return mapped[f"{entry.rows[entry.head].name}.weight"].shape[0]


def _shapes_agree(entry: Entry, mapped: dict[str, StoredTensor]) -> bool:
    num_classes = _classes(entry, mapped)
    return num_classes > 1 and all(
        fits(mapped[name].shape, template, num_classes) for name, template in entry.tensors
    )


@cache
def _templates(entry: Entry) -> tuple[Counter[tuple[int, ...]], list[Shape]]:
    """Shapes that hold at any class count, and those that hold it, the head's weight first."""
    shapes = [template for _, template in entry.tensors]
    fixed = Counter(tuple(int(size) for size in shape) for shape in shapes if not {CLASSES, ANY} & set(shape))
    return fixed, sorted((shape for shape in shapes if CLASSES in shape), key=len, reverse=True)


def _wiring_holds(match: Match) -> bool:
    """Whether a variant's shapes can be wired as the entry is: each layer takes what the one before gives."""
    rows = [row for row in match.entry.rows if not match.entry.is_aux(row)]
    head = match.entry.rows[match.entry.head]
    return match.tensors[f"{head.name}.weight"].shape[0] > 1 and all(
        _norm_holds(match, row) if isinstance(row, NormRow) else _layer_holds(match, row) for row in rows
    )


def _norm_holds(match: Match, row: NormRow) -> bool:
    shapes = {match.tensors[name].shape for name, _ in row.tensors}
    return len(shapes) == 1 and len(shapes.pop()) == 1


def _layer_holds(match: Match, row: LayerRow) -> bool:
    weight = match.tensors[f"{row.name}.weight"]
    if weight.data.ndim != len(row.shape) or (row.bias and _size(match, row, "bias") != weight.shape[0]):
        return False
    rows = match.entry.rows
    inputs = weight.shape[1] * groups_of(match, row)
    after, before, previous = (
        None if link is None else match.tensors[f"{rows[link].name}.weight"].shape[0]
        for link in (row.norm_after, row.norm_before, row.previous)
    )
    return after in (None, weight.shape[0]) and before in (None, inputs) and previous in (None, inputs)


def _size(match: Match, row: LayerRow, leaf: str) -> int:
    return match.tensors[f"{row.name}.{leaf}"].data.size


def groups_of(match: Match, row: LayerRow) -> int:
    """Groups of a convolution; in a variant (ResNeXt has ResNet's names) as many as its inputs call for."""
    weight = match.tensors[f"{row.name}.weight"].shape
    if match.exact:
        return row.groups
    if row.kind == "depthwise":
        return weight[0]
    if row.previous is None or row.kind == "linear":
        return 1
    given = match.tensors[f"{match.entry.rows[row.previous].name}.weight"].shape[0]
    return max(1, given // weight[1])


def modern(name: str) -> str:
    """torchvision's DenseNet names since 2018: `norm1`, where files before have `norm.1`."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1", name)
