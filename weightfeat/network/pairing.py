"""Pairs an unknown network's BatchNorms with its layers by name, place and number of channels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise

from weightfeat.network.types import Layer, Norm


def norms_after(layers: Mapping[int, Layer], norms: Mapping[int, Norm], *, ordered: bool) -> dict[int, Norm]:
    """The BatchNorms that take the layers' outputs, under the layers' keys; keys are places in the file.

    First those of one number in one parent ("conv2" and "bn2"), then those that stand behind: of a run of layers
    with a run of norms behind it, the last with the last. Norms without a running variance are left alone: a
    transformer's LayerNorm follows an addition, not the layer in front of it.
    """
    usable = {place: norm for place, norm in norms.items() if norm.var is not None}
    pairs = _by_kin(layers, usable, ordered=ordered)
    taken = set(pairs.values())
    for layer_run, norm_run in _runs(layers, norms):
        free = {place: layers[place] for place in layer_run if place not in pairs}
        left = {place: usable[place] for place in norm_run if place in usable and place not in taken}
        pairs |= _last_with_last(free, left)
    return {place: usable[partner] for place, partner in pairs.items()}


def channels_of(norm: Norm) -> int:
    """How many channels a norm has."""
    return next(vector.size for vector in (norm.gamma, norm.beta, norm.mean, norm.var) if vector is not None)


def _by_kin(layers: Mapping[int, Layer], norms: Mapping[int, Norm], *, ordered: bool) -> dict[int, int]:
    """Places of norms beside their layer, under the layer's place; in file order only those behind it."""
    places = {_kin(norm.name): place for place, norm in norms.items()}
    pairs: dict[int, int] = {}
    for place, layer in layers.items():
        partner = places.get(_kin(layer.name))
        if partner is not None and _fits(layer, norms[partner]) and (partner > place or not ordered):
            pairs[place] = places.pop(_kin(layer.name))
    return pairs


def _kin(name: str) -> tuple[str, str]:
    """Parent module and the number a name ends with; a name that is only a number is kin to none but itself."""
    parent, _, leaf = name.rpartition(".")
    number = leaf[len(leaf.rstrip("0123456789")) :]
    return parent, "itself " + leaf if number == leaf else number


def _runs(layers: Mapping[int, Layer], norms: Mapping[int, Norm]) -> Iterator[tuple[list[int], list[int]]]:
    """Places of consecutive layers, each run with the run of norms behind it."""
    runs = [list(run) for _, run in groupby(sorted({*layers, *norms}), key=layers.__contains__)]
    return ((first, second) for first, second in pairwise(runs) if first[0] in layers)


def _last_with_last(layers: Mapping[int, Layer], norms: Mapping[int, Norm]) -> dict[int, int]:
    pairs: dict[int, int] = {}
    waiting: defaultdict[int, list[int]] = defaultdict(list)
    for place in sorted(layers):
        waiting[layers[place].weight.shape[0]].append(place)
    reached = max(layers, default=0) + 1
    for partner in sorted(norms, reverse=True):
        fitting = waiting[channels_of(norms[partner])]
        while fitting and fitting[-1] >= reached:
            fitting.pop()
        if fitting:
            reached = fitting.pop()
            pairs[reached] = partner
    return pairs


def _fits(layer: Layer, norm: Norm) -> bool:
    return bool(channels_of(norm) == layer.weight.shape[0])
