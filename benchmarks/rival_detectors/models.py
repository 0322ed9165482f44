"""Classifiers that rivals fit on tables of finite numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.folds import assign_folds
from weightfeat.detector.linear import Linear, fit_linear
from weightfeat.features.summaries import Array

__all__ = ["Model", "boosted_trees", "logistic"]

Labels = NDArray[np.int64]
PENALTIES = (0.1, 1.0, 10.0)
"""Strengths (inverse penalties of `fit_linear`) among which the logistic regression chooses inside a fold."""


class Model:
    """What `PerArchitecture` and `Pooled` fit: an X of finite numbers and a logit for each of its rows."""

    def fit(self, x: Array, y: Labels, groups: Sequence[str]) -> Model:
        """Learn from (n, columns) and (n,); rows of one group stay together wherever it folds them."""
        raise NotImplementedError

    def logit(self, x: Array) -> Array:
        """(n,)"""
        raise NotImplementedError


class _Boosted(Model):
    """Gradient boosting with the settings that did best on the Round 11 statistics: 200 trees, depth 3, rate 0.02."""

    def fit(self, x: Array, y: Labels, groups: Sequence[str]) -> Model:
        from sklearn.ensemble import GradientBoostingClassifier

        # A random share of the columns at each split: with thousands of columns all of them take minutes a network.
        self._model = GradientBoostingClassifier(
            n_estimators=200, learning_rate=0.02, max_depth=3, max_features="sqrt", random_state=0
        ).fit(x, y)
        return self

    def logit(self, x: Array) -> Array:
        return np.asarray(self._model.decision_function(x), dtype=np.float64)


class _Logistic(Model):
    """L2 logistic regression whose penalty is chosen by cross-entropy in folds of the training rows."""

    def fit(self, x: Array, y: Labels, groups: Sequence[str]) -> Model:
        folds = assign_folds(y, [""] * len(y), groups, 3, 0)
        strength = PENALTIES[0]
        if folds is not None:
            strength = min(PENALTIES, key=lambda c: _held_out_loss(x, y, folds, c))
        self._linear: Linear = fit_linear(x, y, strength)
        return self

    def logit(self, x: Array) -> Array:
        return self._linear.raw(x)


def _held_out_loss(x: Array, y: Labels, folds: Labels, c: float) -> float:
    total = 0.0
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        z = fit_linear(x[~held], y[~held], c).raw(x[held])
        total += float(np.logaddexp(0.0, np.where(y[held] == 1, -z, z)).sum())
    return total


def boosted_trees() -> Model:
    """scikit-learn's gradient boosting."""
    return _Boosted()


def logistic() -> Model:
    """The logistic regression of `weightfeat.detector.linear`, its penalty tuned inside the fold."""
    return _Logistic()
