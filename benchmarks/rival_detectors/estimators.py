"""The few estimators rivals share. Each is fitted on one fold's training rows and has the detector's interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rival_detectors.models import Model
from weightfeat.detector.calibration import Calibration, assign_folds, fit_calibration, sigmoid, units_of
from weightfeat.detector.linear import fit_linear
from weightfeat.detector.normaliser import Normaliser, fit_normaliser, robust
from weightfeat.evaluation.crossval import Estimator

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Calibrated", "OneNumber", "PerArchitecture", "Pooled"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
LEAST_OF_A_CLASS = 3
"""Networks of either label that an architecture needs for a model of its own."""
EDGE = 1e-6


class Pooled:
    """One model for all architectures; missing values are the training median."""

    def __init__(self, make_model: Callable[[], Model]) -> None:
        self._make = make_model

    def fit(
        self,
        X: pd.DataFrame,
        y: Labels,
        *,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str] | None = None,
    ) -> Pooled:
        """Learn from X (n, columns) and y (n,)."""
        values = X.to_numpy(dtype=np.float64)
        self._fill = _medians(values)
        labels = np.asarray(y, dtype=np.int64)
        self._model = self._make().fit(_filled(values, self._fill), labels, units_of(groups, len(labels)))
        return self

    def predict_proba(
        self, X: pd.DataFrame, *, architecture: Sequence[str], family: Sequence[str]
    ) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        return _both(self._model.logit(_filled(X.to_numpy(dtype=np.float64), self._fill)))


class PerArchitecture:
    """One model an architecture, on the columns its networks have.

    An architecture with fewer than `LEAST_OF_A_CLASS` networks of either label, or unseen, gets the share of
    trojaned networks in the whole training set: such a rival has nothing to say of it.
    """

    def __init__(self, make_model: Callable[[], Model]) -> None:
        self._make = make_model

    def fit(
        self,
        X: pd.DataFrame,
        y: Labels,
        *,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str] | None = None,
    ) -> PerArchitecture:
        """Learn from X (n, columns) and y (n,), each architecture alone."""
        values, labels, names = X.to_numpy(dtype=np.float64), np.asarray(y), np.asarray(architecture, str)
        units = units_of(groups, len(labels))
        self._share = float(np.clip(labels.mean(), 0.01, 0.99))
        self._models: dict[str, tuple[NDArray[np.bool_], Array, Model]] = {}
        for name in sorted(set(architecture)):
            rows = names == name
            if min(np.bincount(labels[rows], minlength=2)) < LEAST_OF_A_CLASS:
                continue
            own = values[rows]
            held = np.asarray(~np.isnan(own).all(axis=0))
            if not held.any():
                continue
            fill = _medians(own[:, held])
            known = _filled(own[:, held], fill), labels[rows], _of(units, np.flatnonzero(rows))
            self._models[name] = held, fill, self._make().fit(*known)
        return self

    def predict_proba(
        self, X: pd.DataFrame, *, architecture: Sequence[str], family: Sequence[str]
    ) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        values, names = X.to_numpy(dtype=np.float64), np.asarray(architecture, str)
        logit = np.full(len(values), np.log(self._share / (1 - self._share)))
        for name, (held, fill, model) in self._models.items():
            rows = names == name
            if rows.any():
                logit[rows] = model.logit(_filled(values[rows][:, held], fill))
        return _both(logit)


class OneNumber:
    """A published score made a probability: a logistic regression in one variable, fitted in the fold.

    With several columns the one of largest training AUC is taken: larger means trojaned. `by_architecture` sets the
    number against the training networks of its own architecture first (without labels), for scores whose scale
    depends on it.
    """

    def __init__(self, *, by_architecture: bool = False, strength: float = 100.0) -> None:
        self._normalise, self._strength = by_architecture, strength
        self._normaliser: Normaliser | None = None

    def fit(
        self,
        X: pd.DataFrame,
        y: Labels,
        *,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str] | None = None,
    ) -> OneNumber:
        """Learn from X (n, columns) and y (n,)."""
        values, labels = X.to_numpy(dtype=np.float64), np.asarray(y, dtype=np.int64)
        if self._normalise:
            self._normaliser = fit_normaliser(values, architecture, family, 5.0)
        scores = self._scores(values, architecture, family)
        self.column_ = int(np.argmax([_area(column, labels) for column in scores.T]))
        self._linear = fit_linear(scores[:, [self.column_]], labels, self._strength)
        return self

    def predict_proba(
        self, X: pd.DataFrame, *, architecture: Sequence[str], family: Sequence[str]
    ) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        scores = self._scores(X.to_numpy(dtype=np.float64), architecture, family)
        return _both(self._linear.raw(scores[:, [self.column_]]))

    def _scores(self, values: Array, architecture: Sequence[str], family: Sequence[str]) -> Array:
        return (
            values if self._normaliser is None else self._normaliser.transform(values, architecture, family)
        )


class Calibrated:
    """Any of the above with Platt's correction, fitted on logits of inner folds, as our detector has it."""

    def __init__(self, make_estimator: Callable[[], Estimator], folds: int = 3) -> None:
        self._make, self._folds = make_estimator, folds

    def fit(
        self,
        X: pd.DataFrame,
        y: Labels,
        *,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str] | None = None,
    ) -> Calibrated:
        """Learn from X (n, columns) and y (n,); groups stay together in the inner folds."""
        labels = np.asarray(y, dtype=np.int64)
        units = units_of(groups, len(labels))
        fold = assign_folds(labels, architecture, units, self._folds, 0)
        self._calibration = Calibration("none")
        if fold is not None:
            logit = np.empty(len(labels))
            for number in range(int(fold.max()) + 1):
                held, kept = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
                inner = self._fitted(X, labels, architecture, family, units, kept)
                logit[held] = _logit_of(inner, X, architecture, family, held)
            self._calibration = fit_calibration("platt", logit, labels)
        self._whole = self._fitted(X, labels, architecture, family, units, np.arange(len(labels)))
        return self

    def predict_proba(
        self, X: pd.DataFrame, *, architecture: Sequence[str], family: Sequence[str]
    ) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        logit = _logit_of(self._whole, X, architecture, family, np.arange(len(X)))
        return _both(self._calibration.logit(logit))

    def _fitted(
        self,
        X: pd.DataFrame,
        y: Labels,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str],
        rows: Labels,
    ) -> Estimator:
        estimator, kinds = self._make(), {"architecture": architecture, "family": family, "groups": groups}
        estimator.fit(X.iloc[rows], y[rows], **{name: _of(values, rows) for name, values in kinds.items()})
        return estimator


def _logit_of(
    estimator: Estimator, X: pd.DataFrame, architecture: Sequence[str], family: Sequence[str], rows: Labels
) -> Array:
    p = estimator.predict_proba(X.iloc[rows], architecture=_of(architecture, rows), family=_of(family, rows))[
        :, 1
    ]
    p = np.clip(p, EDGE, 1 - EDGE)
    return np.asarray(np.log(p / (1 - p)))


def _of(values: Sequence[Any], rows: Labels) -> list[Any]:
    return [values[int(i)] for i in rows]


def _area(column: Array, y: Labels) -> float:
    """AUC of a column, NaN counted as its lowest."""
    from scipy.stats import rankdata

    ranks = rankdata(np.where(np.isnan(column), -np.inf, column))
    positives = int(y.sum())
    return float((ranks[y == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives)))


def _medians(values: Array) -> Array:
    """Median of each column's known values, 0 where there is none."""
    return np.nan_to_num(robust(values)[0], nan=0.0)


def _filled(values: Array, fill: Array) -> Array:
    return np.where(np.isnan(values), fill, values)


def _both(logit: Array) -> NDArray[np.float64]:
    p = sigmoid(logit)
    return np.column_stack([1 - p, p])
