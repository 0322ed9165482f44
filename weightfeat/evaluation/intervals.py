"""Bootstrap intervals: of one detector's figure, and of the difference of two detectors on the same models.

`labels` and `probabilities` are shaped as in `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from weightfeat.evaluation.metrics import (
    Floats,
    Ints,
    elementwise_brier,
    elementwise_cross_entropy,
    prepare,
)


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval [low, high]; all NaN where the value is not defined."""

    value: float
    low: float
    high: float


# A statistic of resampled models: labels (n,), probabilities (repeats, n), counts (draws, n) -> (draws,)
Statistic = Callable[[Ints, Floats, Floats], Floats]


def _weighted_mean_of(elementwise: Callable[[ArrayLike, ArrayLike], Floats]) -> Statistic:
    def statistic(y: Ints, p: Floats, counts: Floats) -> Floats:
        return np.asarray(counts @ elementwise(y, p) / counts.sum(axis=1), dtype=np.float64)

    return statistic


def weighted_auc(y: Ints, p: Floats, counts: Floats) -> Floats:
    """Mean over repeats of the AUC in which model i occurs counts[:, i] times; NaN with one class.

    Mann-Whitney's U as a matrix product over trojaned x clean pairs. Doubled wins are whole numbers, so every sum is
    exact and does not depend on the order or the threads in which it is made.
    """
    if y.min() == y.max():
        return np.full(len(counts), np.nan)
    trojaned, clean = y == 1, y == 0
    wins = np.zeros((trojaned.sum(), clean.sum()))
    for repeat in p:
        difference = repeat[trojaned][:, None] - repeat[clean][None, :]
        wins += np.sign(difference) + 1
    of = counts[:, trojaned].sum(axis=1) * counts[:, clean].sum(axis=1)
    won = ((counts[:, trojaned] @ wins) * counts[:, clean]).sum(axis=1)
    return np.asarray(won / (2 * len(p) * of), dtype=np.float64)


STATISTICS: dict[str, Statistic] = {
    "cross_entropy": _weighted_mean_of(elementwise_cross_entropy),
    "brier": _weighted_mean_of(elementwise_brier),
    "roc_auc": weighted_auc,
}


def bootstrap(
    labels: ArrayLike, probabilities: ArrayLike, statistic: str, *, draws: int = 2000, seed: int = 0
) -> Estimate:
    """95 % percentile interval of a statistic, models resampled within each label (Efron & Tibshirani 1993, ch. 13).

    `statistic` is a key of STATISTICS. The repeats of a model are resampled together: they are not new
    models.
    """
    y, p = prepare(labels, probabilities)
    values = STATISTICS[statistic](y, p, _resampled(y, draws, seed))
    return _percentiles(STATISTICS[statistic](y, p, np.ones((1, y.size)))[0], values)


def paired_bootstrap(
    labels: ArrayLike, ours: ArrayLike, theirs: ArrayLike, statistic: str, *, draws: int = 2000, seed: int = 0
) -> Estimate:
    """95 % interval of ours minus theirs on the same models: one resample serves both, so shared noise cancels."""
    y, p = prepare(labels, ours)
    _, q = prepare(labels, theirs)
    compute = STATISTICS[statistic]
    counts, once = _resampled(y, draws, seed), np.ones((1, y.size))
    return _percentiles(
        (compute(y, p, once) - compute(y, q, once))[0], compute(y, p, counts) - compute(y, q, counts)
    )


def _resampled(y: Ints, draws: int, seed: int) -> Floats:
    """How often each model occurs in each draw, (draws, n); the number of models with each label stays as it is."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, y.size))
    for label in (0, 1):
        members = np.flatnonzero(y == label)
        if members.size:
            counts[:, members] = rng.multinomial(
                members.size, np.full(members.size, 1 / members.size), size=draws
            )
    return counts


def _percentiles(value: float, values: Floats) -> Estimate:
    if not np.isfinite(value):
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(values, (2.5, 97.5))
    return Estimate(float(value), float(low), float(high))
