"""Every ordered pair (target, source) of a network's classes as a row of statistics, made a few targets at a time.

A network of C classes has C^2 pairs: of 2048 classes a table of all of them is 0.9 GB. What a pair's columns usually
differ by is taken column by column, (C, C) each; rows are made for the targets that are asked about.

- `cosine`, `composed`, `active`: centred cosines; `after.*` (`before.*`): residual of how often s comes second when t
  wins random latents (t when s wins)
- `switch`: log of max over channels of relu(H_t) relu(-H_s): a channel that turns s into t; `rare_switch`: with
  the channel's P(inactive) as weight
- `target.*`, `source.*`: the class columns that relabelling pushes up at t and down at s

and `log_classes`, which is no difference and has the scale 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weightfeat.detector.classes import statistics
from weightfeat.digest.latents import KINDS
from weightfeat.features.classes import TARGETWARD, centred_cosines
from weightfeat.features.summaries import Array, centred, robust_scale

MOST_PAIRS = 4096
"""Pairs of one network that are learned from: all of up to 64 classes, those of evenly spaced targets beyond."""
SWITCHES = ("switch", "rare_switch")
_WHEN = tuple(f"{place}.{kind}" for place in ("after", "before") for kind in KINDS)
PAIR_OWN = ("cosine", "composed", "active", *_WHEN, *SWITCHES)
PAIR_COLUMNS = (
    *PAIR_OWN,
    *(f"target.{name}" for name in TARGETWARD),
    *(f"source.{name}" for name in TARGETWARD),
    "log_classes",
)


@dataclass(frozen=True, eq=False)
class Pairs:
    """What the pairs' own columns, `PAIR_OWN`, are made from.

    Attributes
    ----------
    grams : (C, C) three times: Gram matrices of the classes' rows, plain, composed and of active channels.
    runner_up : (kinds, C, C), how often a class comes second when another wins.
    switches : (C, C) twice.
    centre, scale, lowest : (own columns,); mean, robust scale and lowest known value over all pairs of this network.
    """

    grams: tuple[Array, ...]
    runner_up: Array
    switches: tuple[Array, ...]
    centre: Array
    scale: Array
    lowest: Array

    @classmethod
    def of(cls, grams: Sequence[Array], runner_up: Array, switches: Sequence[Array]) -> Pairs:
        """From the tables alone."""
        summaries = [_summary(column) for column in _columns(grams, runner_up, switches)]
        centre, scale, lowest = (np.array(values) for values in zip(*summaries, strict=True))
        return cls(tuple(grams), runner_up, tuple(switches), centre, scale, lowest)

    def differences(self, targets: Sequence[int]) -> Array:
        """(targets, C, own columns): values less their means over all pairs; zeros for a class with itself."""
        at = list(targets)
        columns = _columns(self.grams, self.runner_up, self.switches)
        raw = np.stack([column[at] for column in columns], axis=2).astype(np.float64)
        out = np.where(np.isfinite(raw), raw, self.lowest) - self.centre
        out[np.arange(len(at)), at] = 0.0
        return out


def spread_targets(count: int) -> list[int]:
    """Which of `count` targets pairs are learned from: see `MOST_PAIRS`."""
    most = max(1, MOST_PAIRS // max(count, 1))
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).astype(int).tolist()


def _columns(grams: Sequence[Array], runner_up: Array, switches: Sequence[Array]) -> Iterator[Array]:
    """(C, C) each, in the order of `PAIR_OWN`."""
    yield from (centred_cosines(gram) for gram in grams)
    yield from (statistics.residuals(table.astype(np.float64)) for table in runner_up)
    yield from (statistics.residuals(table.astype(np.float64)).T for table in runner_up)
    yield from switches


def _summary(column: Array) -> tuple[float, float, float]:
    """Mean, robust scale and lowest known value of a column over all pairs of two classes."""
    values = column[~np.eye(len(column), dtype=bool)]
    if not len(values):
        return 0.0, 0.0, 0.0
    known = np.isfinite(values)
    lowest = float(values[known].min()) if known.any() else 0.0
    filled = np.where(known, values, lowest)
    return float(filled.mean()), float(robust_scale(centred(filled))), lowest
