"""An L2-penalised logistic regression over many correlated columns."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.normaliser import CLIP, robust
from weightfeat.features.summaries import Array

__all__ = ["Linear", "fit_linear", "fit_standard", "standardised"]


@dataclass(frozen=True, eq=False)
class Linear:
    """Vectors of one entry a column; missing values count as the `centre`, a `scale` of 0 drops a constant column."""

    centre: Array
    scale: Array
    coefficient: Array
    intercept: float

    def contributions(self, x: Array) -> Array:
        """Each column's part of the logit, (rows, columns); 0 where the column is at its training median."""
        return self.coefficient * standardised(x, self.centre, self.scale)

    def raw(self, x: Array) -> Array:
        """The logit, (rows,). Summed row by row, so a row's value does not depend on the rows beside it."""
        logit: Array = np.ascontiguousarray(self.contributions(x)).sum(axis=1) + self.intercept
        return logit


def fit_linear(x: Array, y: NDArray[np.int64], c: float, weight: Array | None = None) -> Linear:
    """Logistic regression on (x - median) / robust scale, divided by sqrt(columns), penalty 1 / (2 c) ||w||^2.

    `weight` says how much each row counts; None: all alike.

    The division makes `c` the prior variance of the logit for standard rows, whatever the number of columns. Robust
    scales, because a column whose spread is set by a few outliers would otherwise be shrunk out of use.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    centre, scale = fit_standard(x)
    used = scale > 0
    coefficient, width = np.zeros(x.shape[1]), np.sqrt(max(int(used.sum()), 1))
    if not used.any():
        share = y.mean()
        return Linear(centre, scale, coefficient, float(np.log(share / (1 - share))))
    model = LogisticRegression(C=c, tol=1e-7, max_iter=2000)
    with warnings.catch_warnings():
        # Separable rows with a weak penalty end at the iteration limit: still a usable, and the same, answer.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(standardised(x, centre, scale)[:, used] / width, y, sample_weight=weight)
    coefficient[used] = model.coef_[0] / width
    return Linear(centre, scale, coefficient, float(model.intercept_[0]))


def fit_standard(x: Array) -> tuple[Array, Array]:
    """Each column's median and robust scale, (columns,) each; the scale is 0 where a column says nothing."""
    centre, scale, count = robust(x)
    centre, scale = np.where(count > 0, centre, 0.0), np.where(count > 0, scale, 0.0)
    return centre, np.where(scale > 1e-13 * np.abs(centre), scale, 0.0)


def standardised(x: Array, centre: Array, scale: Array) -> Array:
    """(x - centre) / scale, clipped; 0 where a value is missing or its column says nothing."""
    z = np.where((scale > 0) & ~np.isnan(x), (x - centre) / np.where(scale > 0, scale, 1.0), 0.0)
    return np.clip(z, -CLIP, CLIP)
