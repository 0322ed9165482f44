"""From out-of-fold logits to probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.metaparameters import CalibrationMethod

__all__ = ["Calibration", "assign_folds", "fit_calibration", "sigmoid", "units_of"]

Array = NDArray[np.float64]
STEEPEST = 20.0
# Strength, in rows, of the belief that no correction is needed (slopes within about 0.5 of 1): some dozens of
# out-of-fold scores hardly know better.
IDENTITY_ROWS = 16.0
# Number of free values of each method, and how they give a, b and c.
_SHAPES: dict[str, tuple[int, Callable[[Array], tuple[float, float, float]]]] = {
    "temperature": (1, lambda v: (v[0], v[0], 0.0)),
    "platt": (2, lambda v: (v[0], v[0], v[1])),
    "beta": (3, lambda v: (v[0], v[1], v[2])),
}


@dataclass(frozen=True)
class Calibration:
    """logit' = a ln p - b ln(1 - p) + c with p = sigmoid(logit); every method is a case of it.

    Platt: a = b. Temperature: a = b, c = 0. Beta (Kull et al. 2017): all free, a and b not negative.
    """

    method: str
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def logit(self, logit: Array) -> Array:
        """The corrected logit, same shape; not decreasing in its argument."""
        return self.a * _log_sigmoid(logit) - self.b * _log_sigmoid(-logit) + self.c


def fit_calibration(method: CalibrationMethod, logit: Array, y: NDArray[np.int64]) -> Calibration:
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
        a, b, c = expand(values)
        z = Calibration(method, a, b, c).logit(logit)
        # A row at p = 1/2 tells p (1 - p) = 1/4 about a logit's shift; half of that times the square is its penalty.
        pull = IDENTITY_ROWS / 8 * ((a - 1) ** 2 / 2 + (b - 1) ** 2 / 2 + c**2)
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


def units_of(groups: Sequence[str] | None, count: int) -> list[str]:
    """What must stay together in folds of `count` rows: every row alone where no groups are given."""
    return [str(i) for i in range(count)] if groups is None else list(groups)


def sigmoid(logit: Array) -> Array:
    """1 / (1 + exp(-logit)) without overflow."""
    return np.exp(_log_sigmoid(logit))


def _log_sigmoid(x: Array) -> Array:
    return -np.logaddexp(0.0, -x)
