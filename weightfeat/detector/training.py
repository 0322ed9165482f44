"""Learning: normalise, classify, calibrate on out-of-fold logits, and measure the population, labels out of reach
of all but the classifier and the calibration."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.calibration import Calibration, assign_folds, fit_calibration, sigmoid, units_of
from weightfeat.detector.classifier import Classifier, fit_classifier
from weightfeat.detector.learned import Learned, Rows, with_raw
from weightfeat.detector.normaliser import Normaliser, fit_normaliser
from weightfeat.detector.novelty import Population, fit_population, with_reference
from weightfeat.errors import BadRound
from weightfeat.metaparameters import Metaparameters

__all__ = ["OutOfFold", "learn"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """For every training row, what models that had not seen it said, in the caller's order; None without folds."""

    fold: NDArray[np.int64] | None
    logit: Array | None
    probability: Array | None


def learn(
    rows: Rows,
    y: NDArray[np.int64],
    groups: Sequence[str] | None,
    raw_columns: Sequence[str],
    logistic_columns: Sequence[str] | None,
    log_odds: str | None,
    tree_columns: Sequence[str] | None,
    params: Metaparameters,
    threads: int,
) -> tuple[Learned, OutOfFold]:
    """Fit everything. The order of the rows plays no part: they are first sorted by content.

    Raises BadRound where the labels hold one class only or there are no columns.
    """
    from threadpoolctl import threadpool_limits

    _check(rows, y)
    kept = {*(raw_columns if params.train_keep_raw else ()), log_odds}
    raw = tuple(name for name in rows.names if name in kept)
    columns = _Columns(raw, _set(logistic_columns), log_odds, _set(tree_columns))
    order = _order(rows, y, groups)
    rows, y = rows.take(order), y[order]
    units = units_of(None if groups is None else [str(groups[i]) for i in order], len(y))
    folds = assign_folds(y, rows.architecture, units, params.train_calibration_folds, params.train_seed)
    # One thread in linear algebra: its sums depend on the number of threads in the last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        held = None if folds is None else _held_out(rows, y, folds, columns, params, threads)
        normaliser, classifier, population = _fit(rows, y, columns, params, threads)
    calibration, back = Calibration("none"), np.argsort(order)
    out_of_fold = OutOfFold(None, None, None)
    if folds is not None and held is not None:
        calibration = fit_calibration(params.train_calibration, held.logit, y)
        population = with_reference(population, held.distance)
        probability = sigmoid(calibration.logit(held.logit))
        out_of_fold = OutOfFold(folds[back], held.logit[back], probability[back])
    training = _described(rows, y, 0 if folds is None else int(folds.max()) + 1)
    learned = Learned(params, rows.names, raw, normaliser, classifier, calibration, population, training)
    return learned, out_of_fold


@dataclass(frozen=True, eq=False)
class _Held:
    """What was said of held-out rows, (rows,) each."""

    logit: Array
    distance: Array


@dataclass(frozen=True)
class _Columns:
    """Which columns are kept raw as well, which the logistic regression may use (None: all), which of the raw ones is
    a log-odds that takes its place, and which the trees may use (None: all)."""

    raw: tuple[str, ...]
    logistic: frozenset[str] | None
    log_odds: str | None
    trees: frozenset[str] | None

    def marked(self, used: frozenset[str] | None, names: Sequence[str]) -> NDArray[np.bool_] | None:
        """A mark a column, normalised and raw ones."""
        return None if used is None else np.array([name in used for name in (*names, *self.raw)])

    def log_odds_at(self, names: Sequence[str]) -> int | None:
        """The number of its raw copy, normalised and raw columns counted."""
        return len(names) + self.raw.index(self.log_odds) if self.log_odds in self.raw else None


def _fit(
    rows: Rows, y: NDArray[np.int64], columns: _Columns, params: Metaparameters, threads: int
) -> tuple[Normaliser, Classifier, Population]:
    normaliser = fit_normaliser(rows.values, rows.architecture, rows.family, params.train_shrinkage)
    z = normaliser.transform(rows.values, rows.architecture, rows.family)
    x = with_raw(z, rows.values, rows.names, columns.raw)
    classifier = fit_classifier(
        *(x, y, params, threads),
        columns.marked(columns.logistic, rows.names),
        columns.log_odds_at(rows.names),
        columns.marked(columns.trees, rows.names),
    )
    return normaliser, classifier, fit_population(z)


def _held_out(
    rows: Rows,
    y: NDArray[np.int64],
    folds: NDArray[np.int64],
    columns: _Columns,
    params: Metaparameters,
    threads: int,
) -> _Held:
    """Everything, the normalisation too, is fitted without the rows that are held out."""
    logit, distance = np.empty(len(y)), np.empty(len(y))
    for fold in range(int(folds.max()) + 1):
        kept, held = np.nonzero(folds != fold)[0], np.nonzero(folds == fold)[0]
        normaliser, classifier, population = _fit(rows.take(kept), y[kept], columns, params, threads)
        part = rows.take(held)
        z = normaliser.transform(part.values, part.architecture, part.family)
        logit[held] = classifier.logit(with_raw(z, part.values, rows.names, columns.raw))
        distance[held] = population.distance(z)
    return _Held(logit, distance)


def _set(names: Sequence[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _check(rows: Rows, y: NDArray[np.int64]) -> None:
    if len(y) != len(rows.values):
        raise ValueError(f"{len(rows.values)} rows and {len(y)} labels")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if len(set(y.tolist())) < 2:
        raise BadRound(
            f"one class only in the labels ({len(y)} networks, {int(y.sum())} trojaned)",
            where="labels",
            expected="clean and trojaned networks, at least one of each",
            remedy="add networks of the other class",
        )
    if not rows.names:
        raise BadRound(
            "there are no features to learn from",
            where="feature blocks",
            expected="at least one block",
            remedy="switch a train_block_ metaparameter on",
        )


def _order(rows: Rows, y: NDArray[np.int64], groups: Sequence[str] | None) -> NDArray[np.int64]:
    """Rows by architecture, family, label and group, then by their values, the first column first.

    By values and not by a hash of them, so that a difference in the last bits, as another processor makes it, deals
    the rows out to folds and bags as before.
    """
    own = [""] * len(y) if groups is None else [str(group) for group in groups]
    places = list(zip(rows.architecture, rows.family, y.tolist(), own, strict=True))
    values = np.where(np.isnan(rows.values), -np.inf, rows.values).tolist()
    return np.array(sorted(range(len(y)), key=lambda at: (places[at], values[at])), dtype=np.int64)


def _described(rows: Rows, y: NDArray[np.int64], folds: int) -> dict[str, Any]:
    """What the ordered rows were; `sha256` is of their values and labels."""
    canonical = np.where(np.isnan(rows.values), np.nan, rows.values + 0.0)  # one NaN, one zero
    words = "\n".join([*rows.names, *rows.architecture, *rows.family])
    return {
        "networks": len(y),
        "trojaned": int(y.sum()),
        "architectures": dict(sorted(Counter(rows.architecture).items())),
        "calibration_folds": folds,
        "sha256": hashlib.sha256(words.encode() + canonical.tobytes() + y.tobytes()).hexdigest(),
    }
