"""A known architecture under other names and in another order: told by shapes, blocks and natural order of names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from math import prod

from weightfeat.checkpoint.types import StoredTensor
from weightfeat.network.grouping import Module
from weightfeat.network.table import CLASSES, Entry, LayerRow, NormRow, Shape

_LEAVES = ("weight", "bias", "running_mean", "running_var")


def by_structure(entry: Entry, modules: Sequence[Module]) -> dict[str, StoredTensor] | None:
    """The file's tensors under the entry's names; None where they are no layers, norms and blocks of its sort.

    Layers of one shape are taken in the order given, which is that of their names where a file keeps none. A norm is
    the one of the right width that lies nearest to its layer. Layers of one block of the entry must lie in one module
    of the file, and those of two blocks in two.

    Parameters
    ----------
    modules : the file's, in its order or in natural order of their names.
    """
    layers = [module for module in modules if module.is_layer]
    norms = [module for module in modules if not module.is_layer]
    rows = {number: row for number, row in enumerate(entry.rows) if isinstance(row, LayerRow)}
    if len(layers) != len(rows) or len(norms) != len(entry.rows) - len(rows):
        return None
    placed = _layers(rows, layers)
    if placed is None or not _blocks_agree(entry, placed):
        return None
    partners = _norms(entry, placed, norms)
    if partners is None:
        return None
    found: dict[str, StoredTensor] = {}
    for number, module in (placed | partners).items():
        row = entry.rows[number]
        leaves = ("weight", "bias")[: len(row.tensors)] if isinstance(row, LayerRow) else _LEAVES
        if set(module.tensors) != set(leaves):
            return None
        found |= {f"{row.name}.{leaf}": module.tensors[leaf] for leaf in leaves}
    return {name: found[name] for name, _ in entry.tensors}


def _layers(rows: Mapping[int, LayerRow], layers: Sequence[Module]) -> dict[int, Module] | None:
    """The module of each layer row, by row number: those of one shape in their order."""
    waiting: defaultdict[tuple[int, ...], list[Module]] = defaultdict(list)
    for module in reversed(layers):
        waiting[module.tensors["weight"].shape].append(module)
    placed: dict[int, Module] = {}
    head = next(number for number, row in rows.items() if CLASSES in row.shape)
    for number, row in rows.items():
        shape = tuple(size for size in row.shape if isinstance(size, int))
        if number != head and CLASSES in row.shape:
            return None  # an auxiliary head's; which of the two is the head, shapes do not tell
        if number != head:
            stored = shape if waiting[shape] else _other_shape(waiting, shape)
            if stored is None:
                return None
            placed[number] = waiting[stored].pop()
    left = [module for modules in waiting.values() for module in modules]
    return placed | {head: left[0]} if len(left) == 1 else None


def _other_shape(
    waiting: Mapping[tuple[int, ...], list[Module]], shape: tuple[int, ...]
) -> tuple[int, ...] | None:
    return next((each for each, held in waiting.items() if held and reshaped(each, shape) == shape), None)


def _blocks_agree(entry: Entry, placed: Mapping[int, Module]) -> bool:
    """Whether the entry's blocks are modules of the file, each of its own."""
    blocks: defaultdict[str, list[list[str]]] = defaultdict(list)
    for number, module in placed.items():
        blocks[_block(entry.rows[number].name)].append(module.name.split("."))
    places = [".".join(_shared(paths)) for block, paths in blocks.items() if block and len(paths) > 1]
    if all("." not in module.name for module in placed.values()):
        return True  # names without modules say nothing of blocks
    return "" not in places and len(set(places)) == len(places)


def _shared(paths: Sequence[Sequence[str]]) -> list[str]:
    """What several paths begin with."""
    together = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return [parts[0] for parts in together]


def _block(name: str) -> str:
    """The path up to its last number that has modules below."""
    path = name.split(".")[:-1]
    return ".".join(path[: max((n + 1 for n, part in enumerate(path) if part[-1:].isdecimal()), default=0)])


def _norms(entry: Entry, placed: Mapping[int, Module], norms: Sequence[Module]) -> dict[int, Module] | None:
    """The module of each norm row, by row number."""
    free: defaultdict[int, dict[str, Module]] = defaultdict(dict)
    for norm in norms:
        free[next(iter(norm.tensors.values())).data.size][norm.name] = norm
    found: dict[int, Module] = {}
    for reach in range(3):
        for number, layer in _linked(entry, placed):
            row = entry.rows[number]
            assert isinstance(row, NormRow)
            if number in found:
                continue
            near = [name for name in free[row.channels] if _distance(layer.name, name) <= reach]
            if near:
                found[number] = free[row.channels].pop(near[0])
    for number, row in enumerate(entry.rows):
        if isinstance(row, NormRow) and number not in found:
            if len(free[row.channels]) != 1:
                return None
            found[number] = free[row.channels].popitem()[1]
    return found


def _linked(entry: Entry, placed: Mapping[int, Module]) -> Iterator[tuple[int, Module]]:
    """Norm rows with the module of a layer beside them, in the entry's order."""
    for number, row in enumerate(entry.rows):
        if isinstance(row, LayerRow):
            for norm in (row.norm_before, row.norm_after):
                if norm is not None:
                    yield norm, placed[number]


def _distance(layer: str, norm: str) -> int:
    """0: within the layer's module; 1: in the same module as it; 2: in one that stands beside that; 3: farther."""
    own, other = layer.split("."), norm.split(".")
    if other[: len(own)] == own:
        return 0
    if own[:-1] == other[:-1]:
        return 1
    return 2 if own[:-2] == other[:-2] and len(own) > 2 else 3


def reshaped(shape: Sequence[int], template: Shape) -> tuple[int, ...] | None:
    """The shape that a tensor of one shape takes under a template of another: linear layers may be stored as
    convolutions, and convolutions of one position as linear ones. None where it fits neither way."""
    if len(shape) == len(template):
        return tuple(shape)
    if len(template) == 2 and len(shape) > 2:
        return shape[0], prod(shape[1:])
    if len(shape) == 2 and len(template) > 2 and all(size == 1 for size in template[2:]):
        return (*shape, *[1] * (len(template) - 2))
    return None
