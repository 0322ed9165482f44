"""Cross-validation in which an estimator sees nothing of the models it is tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.folds import Fold
from weightfeat.detector.out_of_fold import Judge, Progress, out_of_fold
from weightfeat.detector.samples import Samples


class Estimator(Protocol):
    """What is cross-validated: the detector, a rival, or the control. Fitted once, on one fold's training samples."""

    def fit(self, samples: Samples) -> Any:
        """Learn from labelled samples."""

    def predict_proba(self, samples: Samples) -> NDArray[np.float64]:
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
    samples: Samples,
    make: Callable[[], Estimator],
    folds: Sequence[Fold],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> CrossValidation:
    """Fit a new estimator in every fold on its training samples alone and ask it for those that the fold tests.

    Whatever is fitted (normalisation, calibration, tuning) is the estimator's and so happens inside the fold.
    Raises ValueError as `out_of_fold` does.
    """
    found = out_of_fold(samples, partial(fitted, make=make), folds, jobs=jobs, progress=progress)
    fold_of = np.full(found.shape, -1, dtype=np.int64)
    for number, fold in enumerate(folds):
        fold_of[fold.repeat, fold.test] = number
    names = tuple(fold.name for fold in folds)
    return CrossValidation(samples.names, samples.y, samples.architecture, found, fold_of, names)


def fitted(train: Samples, make: Callable[[], Estimator]) -> Judge:
    """How a new estimator, fitted on `train`, judges others: the probability of trojaned, (n,)."""
    estimator = make()
    estimator.fit(train)
    return partial(_of_trojaned, estimator)


def _of_trojaned(estimator: Estimator, samples: Samples) -> NDArray[np.float64]:
    return np.asarray(estimator.predict_proba(samples), dtype=np.float64)[:, 1]
