"""Whether a network of a known architecture was trained as those that were learned from.

Where it was not, what is usual for its architecture is not usual for it: a clean one of another optimiser can look as
trojaned as any. Each of `features.training.TRAINING` is measured in its architecture's median and spread, the spread
drawn to that of all architectures where networks are few. A network's distance is the root mean square of these z. The
limit is the largest distance that a network learned from has from the others of its architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weightfeat.detector.normaliser import MAD_TO_SIGMA
from weightfeat.features.summaries import Array

__all__ = ["Familiarity", "fit_familiarity"]

FEWEST = 4
"""Networks of an architecture from which its recipe is known at all."""
_WEIGHT = 8.0  # networks that the spread of all architectures counts as
_CLIP = 8.0  # one number alone says no more than that
_FULL = 1.25  # times the limit: where a network is wholly foreign
_NARROWEST = 0.02  # logarithms agree no better than that


@dataclass(frozen=True, eq=False)
class Familiarity:
    """`centre` and `scale` are (architectures, len(TRAINING)); a centre of NaN says that a number was never seen."""

    architectures: tuple[str, ...]
    centre: Array
    scale: Array
    limit: float

    def distance(self, architecture: Sequence[str], training: Array) -> Array:
        """Of n networks whose numbers are `training` (n, len(TRAINING)); 0 where nothing is known to compare with."""
        known = {name: at for at, name in enumerate(self.architectures)}
        found = [
            _distance((own - self.centre[known[name]]) / self.scale[known[name]]) if name in known else 0.0
            for name, own in zip(architecture, training, strict=True)
        ]
        return np.array(found)

    def weight(self, architecture: Sequence[str], training: Array) -> Array:
        """How far each is of another recipe, (n,): 0 up to the limit, 1 from a quarter beyond it."""
        beyond = self.distance(architecture, training) / self.limit - 1
        return np.clip(beyond / (_FULL - 1), 0.0, 1.0)


def fit_familiarity(architecture: Sequence[str], training: Array) -> Familiarity | None:
    """Learn what is usual from n networks' numbers, (n, len(TRAINING)); None where no architecture has `FEWEST`."""
    of = np.array(architecture)
    names = tuple(name for name in sorted(set(architecture)) if (of == name).sum() >= FEWEST)
    if not names:
        return None
    apart = np.full_like(training, np.nan)
    for name in names:
        own = np.flatnonzero(of == name)
        for at in own:
            apart[at] = training[at] - _median(training[own[own != at]])
    pooled = _spread(apart)
    centre = np.array([_median(training[of == name]) for name in names])
    scale = np.array([_drawn(_spread(apart[of == name]), pooled, int((of == name).sum())) for name in names])
    place = {name: number for number, name in enumerate(names)}
    named = [(row, place[name]) for row, name in zip(apart, architecture, strict=True) if name in place]
    held = [_distance(row / scale[number]) for row, number in named]
    return Familiarity(names, centre, scale, max(float(np.max(held)), 1.0))


def _drawn(own: Array, pooled: Array, count: int) -> Array:
    square = count * np.square(np.where(np.isnan(own), pooled, own)) + _WEIGHT * np.square(pooled)
    return np.asarray(np.maximum(np.sqrt(square / (count + _WEIGHT)), _NARROWEST))


def _spread(values: Array) -> Array:
    """1.4826 times the median size of every column, 0 where none is known."""
    return np.nan_to_num(MAD_TO_SIGMA * _median(np.abs(values)), nan=0.0)


def _median(values: Array) -> Array:
    known = [column[np.isfinite(column)] for column in values.T]
    return np.array([np.median(column) if len(column) else np.nan for column in known])


def _distance(z: Array) -> float:
    known = np.clip(z[np.isfinite(z)], -_CLIP, _CLIP)
    return float(np.sqrt(np.square(known).mean())) if len(known) else 0.0
