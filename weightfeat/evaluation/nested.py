"""Nested cross-validation: an estimator that searches its metaparameters on whatever it is fitted on.

Passed to `cross_validate`, its search runs inside each outer fold and never sees the models tested there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
from numpy.typing import NDArray

from weightfeat.evaluation.crossval import Estimator
from weightfeat.evaluation.search import P, tune

if TYPE_CHECKING:
    import optuna
    import pandas as pd


class Tuned(Generic[P]):
    """Searches `trials` metaparameters by inner cross-validation, then fits the best on all it was given.

    `make_trial` makes what the search compares, `make_detector` what is fitted in the end.

    `columns` names the features of given blocks, all of them columns of the X that `fit` gets; `params_` are
    the metaparameters found. Under `journals`, searches keep their trials, each in a file named after the models it
    searches on: fitted on them again, it goes on from there. The remaining arguments are those of `tune`.
    """

    def __init__(
        self,
        columns: Callable[[tuple[str, ...]], Sequence[str]],
        space: Callable[[optuna.trial.BaseTrial], P],
        make_trial: Callable[[P], Estimator],
        make_detector: Callable[[P], Estimator],
        trials: int,
        start: dict[str, Any] | None = None,
        seed: int = 0,
        n_folds: int = 5,
        journals: Path | None = None,
    ) -> None:
        self._columns, self._space = columns, space
        self._make_trial, self._make_detector = make_trial, make_detector
        self._trials, self._start, self._seed, self._n_folds = trials, start, seed, n_folds
        self._journals = journals

    def fit(
        self,
        X: pd.DataFrame,
        y: NDArray[np.int64],
        *,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str] | None = None,
    ) -> Tuned[P]:
        """Search on, then learn from, X (n, features) and y (n,)."""
        self.params_ = tune(
            lambda blocks: X[list(self._columns(blocks))],
            y,
            architecture,
            family,
            groups,
            space=self._space,
            make_detector=self._make_trial,
            trials=self._trials,
            start=self._start,
            storage_path=self._journal(X),
            seed=self._seed,
            n_folds=self._n_folds,
        )
        self._detector = self._make_detector(self.params_)
        self._detector.fit(self._chosen(X), y, architecture=architecture, family=family, groups=groups)
        return self

    def predict_proba(
        self, X: pd.DataFrame, *, architecture: Sequence[str], family: Sequence[str]
    ) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        return self._detector.predict_proba(self._chosen(X), architecture=architecture, family=family)

    def _journal(self, X: pd.DataFrame) -> Path | None:
        if self._journals is None:
            return None
        models = "\n".join(map(str, X.index))
        return self._journals / f"{hashlib.sha256(models.encode()).hexdigest()[:16]}.journal"

    def _chosen(self, X: pd.DataFrame) -> pd.DataFrame:
        return X[list(self._columns(self.params_.blocks))]
