"""Pairs an unknown network's BatchNorms with its layers by name, place and number of channels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from weightfeat.network.types import Layer, Norm


def norms_after(
    layers: Sequence[Layer], places: Sequence[int], norms: Mapping[int, Norm], *, ordered: bool
) -> list[Norm | None]:
    """The BatchNorm of each layer's outputs, or None; `places` and the keys of `norms` number the file's modules.

    First those of one number in one parent ("conv2" and "bn2"), then those that stand behind: of a run of layers with a
    run of norms behind it, the last with the last. Norms without a running variance are left alone: a
    transformer's LayerNorm follows an addition, not the layer in front of it.
    """
    unclaimed = {place: norm for place, norm in norms.items() if norm.var is not None}
    found: list[Norm | None] = [None] * len(layers)
    by_kin = {_kin(norm.name): place for place, norm in unclaimed.items()}
    for number, (layer, place) in enumerate(zip(layers, places, strict=True)):
        key = by_kin.get(_kin(layer.name))
        follows = key is not None and (not ordered or key > place)
        if key in unclaimed and follows and channels_of(unclaimed[key]) == layer.weight.shape[0]:
            found[number] = unclaimed.pop(key)
    waiting: list[int] = []
    by_place = dict(zip(places, range(len(layers)), strict=True))
    for place in range(max((*places, *norms), default=-1) + 1):
        if place in by_place:
            # A layer right behind norms opens a new run.
            waiting = [*([] if place - 1 in norms else waiting), by_place[place]]
        elif place + 1 not in norms:
            run = _run_up_to(place, norms)
            for key in (key for key in reversed(run) if key in unclaimed):
                fitting = [n for n in waiting if found[n] is None and _fits(layers[n], unclaimed[key])]
                if fitting:
                    found[fitting[-1]] = unclaimed.pop(key)
                    waiting = waiting[: waiting.index(fitting[-1])]
    return found


def channels_of(norm: Norm) -> int:
    """How many channels a norm has."""
    return next(vector.size for vector in (norm.gamma, norm.beta, norm.mean, norm.var) if vector is not None)
