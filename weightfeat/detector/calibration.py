"""From out-of-fold logits to probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.metaparameters import CalibrationMethod

__all__ = ["Calibration", "Standing", "assign_folds", "fit_calibration", "networks_of", "sigmoid", "units_of"]

Array = NDArray[np.float64]
STEEPEST = 20.0
# Strength, in rows, of the belief that no correction is needed (slopes within about 0.5 of 1): some dozens of
# out-of-fold scores hardly know better.
IDENTITY_ROWS = 16.0
# Number of free values of each method, and how they give a, b, c, known and side.
_SHAPES: dict[str, tuple[int, Callable[[Array], tuple[float, float, float, float, float]]]] = {
    "temperature": (1, lambda v: (v[0], v[0], 0.0, 0.0, 0.0)),
    "platt": (2, lambda v: (v[0], v[0], v[1], 0.0, 0.0)),
    "beta": (3, lambda v: (v[0], v[1], v[2], 0.0, 0.0)),
    "graded": (4, lambda v: (v[0], v[0], v[1], v[2], v[3])),
}
_USUAL, _BEFORE = 24, 16  # a usual number of networks, and how many are as good as known before the first


@dataclass(frozen=True, eq=False)
class Standing:
    """How well the populations that rows come from are known, (rows,) each.

    `networks` counts the learned-from networks of the row's architecture. `side` is 0 or 1, which of two populations
    the evidence is read in, or NaN; None: NaN for all.
    """

    networks: Array
    side: Array | None = None

    def grades(self) -> Array:
        """log((networks + 16) / 40) and side - 1/2, 0 where a side is not known: (rows, 2)."""
        known = np.log((self.networks + _BEFORE) / (_USUAL + _BEFORE))
        side = np.zeros_like(known) if self.side is None else np.nan_to_num(self.side - 0.5, nan=0.0)
        return np.stack([known, side], axis=1)


@dataclass(frozen=True)
class Calibration:
    """logit' = a ln p - b ln(1 - p) + c with p = sigmoid(logit); every method is a case of it.

    Platt: a = b. Temperature: a = b, c = 0. Beta (Kull et al. 2017): all free, a and b not negative. Graded: Platt
    whose slope changes by `known` and `side` times what `Standing.grades` says of the row, since the evidence is worth
    more where more was learned from.
    """

    method: str
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0
    known: float = 0.0
    side: float = 0.0

    def logit(self, logit: Array, standing: Standing | None = None) -> Array:
        """The corrected logit, same shape, rows first; not decreasing in its argument."""
        change = np.zeros(1)
        if standing is not None:
            change = standing.grades() @ np.array([self.known, self.side])
        change = change.reshape(-1, *[1] * (np.ndim(logit) - 1))
        a, b = (np.clip(slope + change, 0.0, STEEPEST) for slope in (self.a, self.b))
        return np.asarray(a * _log_sigmoid(logit) - b * _log_sigmoid(-logit) + self.c)


def fit_calibration(
    method: CalibrationMethod, logit: Array, y: NDArray[np.int64], standing: Standing | None = None
) -> Calibration:
    """Least cross-entropy on out-of-fold logits, (rows,), with Platt's (1999) softened targets.

    Softened targets and a weak pull to the identity keep separable or very few rows from giving infinite slopes.
    """
    if method == "none":
        return Calibration(method)
    from scipy.optimize import minimize

    positives = int(y.sum())
    negatives = len(y) - positives
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    count, expand = _SHAPES[method]
    slopes = 2 if method == "beta" else 1
    bounds = [(0.0, STEEPEST)] * slopes + [(None, None)] * (count - slopes)
    start = [1.0] * slopes + [0.0] * (count - slopes)

    def loss(values: Array) -> float:
        a, b, c, known, side = expand(values)
        z = Calibration(method, a, b, c, known, side).logit(logit, standing)
        # A row at p = 1/2 tells p (1 - p) = 1/4 about a logit's shift; half of that times the square is its penalty.
        pull = IDENTITY_ROWS / 8 * ((a - 1) ** 2 / 2 + (b - 1) ** 2 / 2 + c**2 + known**2 + side**2)
        return float(-(target * _log_sigmoid(z) + (1 - target) * _log_sigmoid(-z)).sum() + pull)

    found = minimize(loss, np.array(start), method="L-BFGS-B", bounds=bounds)
    return Calibration(method, *(float(value) for value in expand(found.x)))


def assign_folds(
    y: NDArray[np.int64], strata: Sequence[str], groups: Sequence[str], folds: int, seed: int
) -> NDArray[np.int64] | None:
    """A fold for every row: balanced over label x stratum, groups never split.

    Groups are sorted by their share of label 1, then by the stratum of their first row of label 1 (else 0), in random
    order within, and dealt out in turn, so every fold gets as many of each as division allows. Fewer folds where a
    label occurs in fewer groups than `folds`; None where it occurs in only one.
    """
    labels, codes = np.asarray(y), np.asarray(groups, dtype=str)
    names, code = np.unique(codes, return_inverse=True)
    share = np.bincount(code, weights=labels) / np.bincount(code)
    possible = min(folds, int((share > 0).sum()), int((share < 1).sum()))
    if possible < 2:
        return None
    rows = np.lexsort((-np.arange(len(labels)), labels))
    speaker = np.empty(len(names), dtype=np.int64)
    speaker[code[rows]] = rows  # of a group's rows the last one counts
    order = np.random.default_rng(seed).permutation(len(names))
    order = np.array(sorted(order, key=lambda g: (share[g], strata[int(speaker[g])])))
    dealt = np.empty(len(names), dtype=np.int64)
    dealt[order] = np.arange(len(names)) % possible
    return dealt[code]


def networks_of(architecture: Sequence[str], counts: Mapping[str, int]) -> Array:
    """How many of each row's architecture were learned from, (rows,), by what was counted of every architecture."""
    return np.array([counts.get(name, 0) for name in architecture], dtype=np.float64)


def units_of(groups: Sequence[str] | None, count: int) -> list[str]:
    """What must stay together in folds of `count` rows: every row alone where no groups are given."""
    return [str(i) for i in range(count)] if groups is None else list(groups)


def sigmoid(logit: Array) -> Array:
    """1 / (1 + exp(-logit)) without overflow."""
    return np.exp(_log_sigmoid(logit))


def _log_sigmoid(x: Array) -> Array:
    return -np.logaddexp(0.0, -x)
