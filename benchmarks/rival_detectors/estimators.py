"""The few estimators rivals share. Each is fitted on one fold's training rows and has the detector's interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rival_detectors.models import Model
from weightfeat.detector.calibration import Calibration, fit_calibration, sigmoid
from weightfeat.detector.folds import inner_folds
from weightfeat.detector.linear import fit_linear
from weightfeat.detector.normaliser import Normaliser, fit_normaliser, robust
from weightfeat.detector.out_of_fold import out_of_fold
from weightfeat.detector.samples import Rows, Samples
from weightfeat.evaluation.crossval import Estimator
from weightfeat.features.summaries import Array

__all__ = ["Calibrated", "OneNumber", "PerArchitecture", "Pooled"]

Labels = NDArray[np.int64]
LEAST_OF_A_CLASS = 3
"""Networks of either label that an architecture needs for a model of its own."""
EDGE = 1e-6


class Pooled:
    """One model for all architectures; missing values are the training median."""

    def __init__(self, make_model: Callable[[], Model]) -> None:
        self._make = make_model

    def fit(self, samples: Samples) -> Pooled:
        """Learn from a table."""
        values = samples.rows(()).values
        self._fill = _medians(values)
        self._model = self._make().fit(_filled(values, self._fill), samples.y, samples.group)
        return self

    def predict_proba(self, samples: Samples) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        return _both(self._model.logit(_filled(samples.rows(()).values, self._fill)))


class PerArchitecture:
    """One model an architecture, on the columns its networks have.

    An architecture with fewer than `LEAST_OF_A_CLASS` networks of either label, or unseen, gets the share of
    trojaned networks in the whole training set: such a rival has nothing to say of it.
    """

    def __init__(self, make_model: Callable[[], Model]) -> None:
        self._make = make_model

    def fit(self, samples: Samples) -> PerArchitecture:
        """Learn from a table, each architecture alone."""
        values, labels, names = samples.rows(()).values, samples.y, np.asarray(samples.architecture, str)
        self._share = float(np.clip(labels.mean(), 0.01, 0.99))
        self._models: dict[str, tuple[NDArray[np.bool_], Array, Model]] = {}
        for name in sorted(set(samples.architecture)):
            rows = names == name
            if min(np.bincount(labels[rows], minlength=2)) < LEAST_OF_A_CLASS:
                continue
            own = values[rows]
            held = np.asarray(~np.isnan(own).all(axis=0))
            if not held.any():
                continue
            fill = _medians(own[:, held])
            known = _filled(own[:, held], fill), labels[rows], _of(samples.group, np.flatnonzero(rows))
            self._models[name] = held, fill, self._make().fit(*known)
        return self

    def predict_proba(self, samples: Samples) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        values, names = samples.rows(()).values, np.asarray(samples.architecture, str)
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

    def fit(self, samples: Samples) -> OneNumber:
        """Learn from a table."""
        rows = samples.rows(())
        if self._normalise:
            self._normaliser = fit_normaliser(rows.values, rows.architecture, rows.family, 5.0)
        scores = self._scores(rows)
        self.column_ = int(np.argmax([_area(column, samples.y) for column in scores.T]))
        self._linear = fit_linear(scores[:, [self.column_]], samples.y, self._strength)
        return self

    def predict_proba(self, samples: Samples) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        return _both(self._linear.raw(self._scores(samples.rows(()))[:, [self.column_]]))

    def _scores(self, rows: Rows) -> Array:
        if self._normaliser is None:
            return rows.values
        return self._normaliser.transform(rows.values, rows.architecture, rows.family)


class Calibrated:
    """Any of the above with Platt's correction, fitted on logits of inner folds, as our detector has it."""

    def __init__(self, make_estimator: Callable[[], Estimator], folds: int = 3) -> None:
        self._make, self._folds = make_estimator, folds

    def fit(self, samples: Samples) -> Calibrated:
        """Learn from a table; groups stay together in the inner folds."""
        folds = inner_folds(samples, samples.architecture, self._folds, 0)
        self._calibration = Calibration()
        if folds:
            self._calibration = fit_calibration(out_of_fold(samples, self._learned, folds)[0], samples.y)
        self._logit = self._learned(samples)
        return self

    def predict_proba(self, samples: Samples) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        return _both(self._calibration.logit(self._logit(samples)))

    def _learned(self, samples: Samples) -> Callable[[Samples], Array]:
        """What gives the logits of other samples."""
        estimator = self._make()
        estimator.fit(samples)
        return partial(_logit_of, estimator)


def _logit_of(estimator: Estimator, samples: Samples) -> Array:
    p = np.clip(estimator.predict_proba(samples)[:, 1], EDGE, 1 - EDGE)
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
