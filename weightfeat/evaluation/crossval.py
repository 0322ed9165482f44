"""Cross-validation in which an estimator sees nothing of the models it is tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weightfeat.evaluation.folds import Fold

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int], None]
"""Called with (done, total) after every step."""


class Estimator(Protocol):
    """What is cross-validated: the detector, a rival, or the control. Fitted once, on one fold's training rows."""

    def fit(
        self,
        X: pd.DataFrame,
        y: NDArray[np.int64],
        *,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str] | None = None,
    ) -> Any:
        """Learn from X (n, features) and y (n,); 1 means trojaned."""

    def predict_proba(
        self, X: pd.DataFrame, *, architecture: Sequence[str], family: Sequence[str]
    ) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Out-of-fold probabilities of n models in each repeat.

    `probabilities` (repeats, n) is that of trojaned; `folds` (repeats, n) numbers the fold in which a model
    was tested, counted through all repeats; `fold_names` names each number.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    architectures: tuple[str, ...]
    probabilities: NDArray[np.float64]
    folds: NDArray[np.int64]
    fold_names: tuple[str, ...]

    @property
    def n_repeats(self) -> int:
        """How often every model was tested."""
        return len(self.probabilities)

    def alone(self, repeat: int) -> CrossValidation:
        """One repeat of it."""
        one = slice(repeat, repeat + 1)
        return replace(self, probabilities=self.probabilities[one], folds=self.folds[one])

    def only(self, kept: NDArray[np.int64]) -> CrossValidation:
        """The same of some of the models, by their places; each was learned of from as many others as before."""
        return replace(
            self,
            names=tuple(self.names[i] for i in kept),
            labels=self.labels[kept],
            architectures=tuple(self.architectures[i] for i in kept),
            probabilities=self.probabilities[:, kept],
            folds=self.folds[:, kept],
        )


def cross_validate(
    features: pd.DataFrame,
    labels: ArrayLike,
    architectures: Sequence[str],
    families: Sequence[str],
    groups: Sequence[str] | None,
    make_detector: Callable[[], Estimator],
    folds: Sequence[Fold],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> CrossValidation:
    """Fit a new estimator in every fold on its training rows alone and ask it for the test rows.

    `features` has a row a model, indexed by model name. Whatever is fitted (normalisation, calibration,
    tuning) is the estimator's and so happens inside the fold. The result is the same for any number of
    `jobs`. Folds of the same rows, such as one in two repeats, are fitted once.

    Raises ValueError where inputs differ in length, where a repeat does not test every model exactly once, or
    where a fold trains on what it tests.
    """
    from joblib import Parallel, delayed, parallel_config

    y = np.asarray(labels, dtype=np.int64)
    _check(features, y, architectures, families, groups, folds)
    same: dict[tuple[bytes, bytes], list[int]] = {}
    for number, fold in enumerate(folds):
        same.setdefault((fold.train.tobytes(), fold.test.tobytes()), []).append(number)
    fits = [(folds[numbers[0]], numbers) for numbers in same.values()]
    tasks = (
        delayed(fit_and_score)(
            make_detector, features, y, architectures, families, groups, fold.train, fold.test
        )
        for fold, _ in fits
    )
    n_repeats = 1 + max(fold.repeat for fold in folds)
    probabilities = np.full((n_repeats, y.size), np.nan)
    fold_of = np.full((n_repeats, y.size), -1, dtype=np.int64)
    with parallel_config(**worker_options(jobs)):
        results = Parallel(return_as="generator", max_nbytes=None)(tasks)
        for done, ((fold, numbers), scores) in enumerate(zip(fits, results, strict=True), start=1):
            for number in numbers:
                probabilities[folds[number].repeat, fold.test] = scores
                fold_of[folds[number].repeat, fold.test] = number
            if progress is not None:
                progress(done, len(fits))
    names = tuple(str(name) for name in features.index)
    return CrossValidation(
        names, y, tuple(architectures), probabilities, fold_of, tuple(f.name for f in folds)
    )


def worker_options(jobs: int) -> dict[str, Any]:
    """joblib's settings: loky, because LightGBM hangs in forked children, and one thread a worker.

    Fewer than one job means one a core. Callers also pass Parallel `max_nbytes=None`, so that nothing is mapped to
    files: /tmp may not be writable where this runs.
    """
    from joblib import cpu_count

    jobs = jobs if jobs > 0 else cpu_count()
    if jobs == 1:
        return {"backend": "sequential", "n_jobs": 1}
    return {"backend": "loky", "n_jobs": jobs, "inner_max_num_threads": 1}


def fit_and_score(
    make_detector: Callable[[], Estimator],
    features: pd.DataFrame,
    y: NDArray[np.int64],
    architectures: Sequence[str],
    families: Sequence[str],
    groups: Sequence[str] | None,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Probability of trojaned for the test rows, shape (len(test),), by an estimator fitted on the train rows."""
    detector = make_detector()
    detector.fit(
        features.iloc[train],
        y[train],
        architecture=take(architectures, train),
        family=take(families, train),
        groups=None if groups is None else take(groups, train),
    )
    scores = detector.predict_proba(
        features.iloc[test], architecture=take(architectures, test), family=take(families, test)
    )
    return np.asarray(scores, dtype=np.float64)[:, 1]


def take(values: Sequence[str], rows: NDArray[np.int64]) -> list[str]:
    """The values at these row numbers."""
    return [values[i] for i in rows]


def _check(
    features: pd.DataFrame,
    y: NDArray[np.int64],
    architectures: Sequence[str],
    families: Sequence[str],
    groups: Sequence[str] | None,
    folds: Sequence[Fold],
) -> None:
    lengths = {
        len(features),
        y.size,
        len(architectures),
        len(families),
        *([] if groups is None else [len(groups)]),
    }
    if len(lengths) != 1:
        raise ValueError(
            f"features, labels, architectures, families and groups differ in length: {sorted(lengths)}"
        )
    if not folds:
        raise ValueError("no folds were given")
    for fold in folds:
        if np.intersect1d(fold.train, fold.test).size:
            raise ValueError(f"fold {fold.name} trains on models it tests")
    for repeat in range(1 + max(fold.repeat for fold in folds)):
        tested = np.concatenate(
            [fold.test for fold in folds if fold.repeat == repeat] or [np.zeros(0, np.int64)]
        )
        if not np.array_equal(np.sort(tested), np.arange(y.size)):
            raise ValueError(f"repeat {repeat} does not test every model exactly once")
