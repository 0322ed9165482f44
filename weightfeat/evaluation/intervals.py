"""Bootstrap intervals: of one detector's figure, and of the difference of two detectors on the same models.

`labels` and `probabilities` are shaped as in `metrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from weightfeat.evaluation.metrics import (
    BINS,
    Floats,
    Ints,
    bin_numbers,
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

    def __format__(self, spec: str) -> str:
        """`value [low, high]`, each number by `spec`."""
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


@dataclass(frozen=True)
class Margin:
    """A value and half the width of its 95 % interval, as the scorer gives it."""

    value: float
    half_width: float

    def __format__(self, spec: str) -> str:
        """`value +- half width`, each number by `spec`."""
        return f"{self.value:{spec}} +- {self.half_width:{spec}}"


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


def _calibration_error(y: Ints, p: Floats, counts: Floats) -> Floats:
    """`metrics.expected_calibration_error`: bins are formed over all repeats, weighted by how often a model occurs."""
    of_bin = bin_numbers(p)
    gaps = [(np.where(of_bin == number, p - y, 0.0)).sum(axis=0) for number in range(BINS)]
    error = np.abs(counts @ np.array(gaps).T).sum(axis=1) / (len(p) * counts.sum(axis=1))
    return np.asarray(error, dtype=np.float64)


STATISTICS: dict[str, Statistic] = {
    "cross_entropy": _weighted_mean_of(elementwise_cross_entropy),
    "brier": _weighted_mean_of(elementwise_brier),
    "roc_auc": weighted_auc,
    "calibration_error": _calibration_error,
}


def bootstrap(
    labels: ArrayLike, probabilities: ArrayLike, statistic: str, *, draws: int = 2000, seed: int = 0
) -> Estimate:
    """95 % percentile interval of a statistic, models resampled within each label (Efron & Tibshirani 1993, ch. 13).

    `statistic` is a key of STATISTICS. The repeats of a model are resampled together: they are not new
    models. A calibration error's interval lies high: resampling adds noise, and noise adds to a sum of sizes.
    """
    return percentiles(*distribution(labels, probabilities, statistic, draws=draws, seed=seed))


def distribution(
    labels: ArrayLike, probabilities: ArrayLike, statistic: str, *, draws: int = 2000, seed: int = 0
) -> tuple[float, Floats]:
    """The statistic, and its values in resamples of the models, (draws,)."""
    y, p = prepare(labels, probabilities)
    compute = STATISTICS[statistic]
    return float(compute(y, p, np.ones((1, y.size)))[0]), compute(y, p, resampled(y, draws, seed))


def paired_bootstrap(
    labels: ArrayLike, ours: ArrayLike, theirs: ArrayLike, statistic: str, *, draws: int = 2000, seed: int = 0
) -> Estimate:
    """95 % interval of ours minus theirs on the same models: one resample serves both, so shared noise cancels."""
    y, p = prepare(labels, ours)
    _, q = prepare(labels, theirs)
    compute = STATISTICS[statistic]
    counts, once = resampled(y, draws, seed), np.ones((1, y.size))
    return percentiles(
        (compute(y, p, once) - compute(y, q, once))[0], compute(y, p, counts) - compute(y, q, counts)
    )


def resampled(strata: Ints, draws: int, seed: int) -> Floats:
    """How often each model occurs in each draw, (draws, n); the number of models of each stratum stays as it is."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, strata.size))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        counts[:, members] = rng.multinomial(
            members.size, np.full(members.size, 1 / members.size), size=draws
        )
    return counts


def percentiles(value: float, values: Floats) -> Estimate:
    """The estimate with the 2.5 and 97.5 % quantiles of its resampled `values`."""
    if not np.isfinite(value):
        return Estimate(float("nan"), float("nan"), float("nan"))
    low, high = np.percentile(values, (2.5, 97.5))
    return Estimate(float(value), float(low), float(high))
