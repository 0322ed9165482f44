"""From out-of-fold logits to probabilities that mean what they say: Platt's (1999) line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.features.summaries import Array

__all__ = ["Calibration", "fit_calibration", "sigmoid"]

STEEPEST = 20.0
# Strength, in rows, of the belief that no correction is needed (slopes within about 0.5 of 1): some dozens of
# out-of-fold scores hardly know better.
IDENTITY_ROWS = 16.0


@dataclass(frozen=True)
class Calibration:
    """logit' = slope logit + shift; the slope is not negative."""

    slope: float = 1.0
    shift: float = 0.0

    def logit(self, logit: Array) -> Array:
        """The corrected logit, same shape; not decreasing in its argument."""
        return self.slope * logit + self.shift


def fit_calibration(logit: Array, y: NDArray[np.int64]) -> Calibration:
    """Least cross-entropy on out-of-fold logits, (rows,), with Platt's softened targets.

    Softened targets and a weak pull to the identity keep separable or very few rows from giving infinite slopes.
    """
    from scipy.optimize import minimize

    positives = int(y.sum())
    negatives = len(y) - positives
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(values: Array) -> float:
        slope, shift = values
        z = Calibration(slope, shift).logit(logit)
        # A row at p = 1/2 tells p (1 - p) = 1/4 about a logit's shift; half of that times the square is its penalty.
        pull = IDENTITY_ROWS / 8 * ((slope - 1) ** 2 + shift**2)
        return float(-(target * _log_sigmoid(z) + (1 - target) * _log_sigmoid(-z)).sum() + pull)

    found = minimize(loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.0, STEEPEST), (None, None)])
    slope, shift = found.x
    return Calibration(float(slope), float(shift))


def sigmoid(logit: Array) -> Array:
    """1 / (1 + exp(-logit)) without overflow."""
    return np.exp(_log_sigmoid(logit))


def _log_sigmoid(x: Array) -> Array:
    return -np.logaddexp(0.0, -x)
