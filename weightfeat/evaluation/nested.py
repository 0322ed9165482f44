"""Nested cross-validation: an estimator that searches its metaparameters on whatever it is fitted on.

Passed to `cross_validate`, its search runs inside each outer fold and never sees the models tested there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.samples import Samples
from weightfeat.evaluation.crossval import Estimator
from weightfeat.evaluation.search import SearchPlan, tune

if TYPE_CHECKING:
    import optuna

P = TypeVar("P")


class Tuned(Generic[P]):
    """Searches metaparameters by inner cross-validation, then fits the best on all it was given.

    `make_trial` makes what the search compares, `make_detector` what is fitted in the end; `params_` are the
    metaparameters found. Under `journals`, searches keep their trials, each in a file named after the models it
    searches on: fitted on them again, it goes on from there.
    """

    def __init__(
        self,
        space: Callable[[optuna.trial.BaseTrial], P],
        make_trial: Callable[[P], Estimator],
        make_detector: Callable[[P], Estimator],
        plan: SearchPlan,
        journals: Path | None = None,
    ) -> None:
        self._space, self._plan, self._journals = space, plan, journals
        self._make_trial, self._make_detector = make_trial, make_detector

    def fit(self, samples: Samples) -> Tuned[P]:
        """Search on, then learn from, the samples."""
        plan = replace(self._plan, journal=self._journal(samples))
        self.params_ = tune(samples, self._space, self._make_trial, plan)
        self._detector = self._make_detector(self.params_)
        self._detector.fit(samples)
        return self

    def predict_proba(self, samples: Samples) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        return self._detector.predict_proba(samples)

    def _journal(self, samples: Samples) -> Path | None:
        if self._journals is None:
            return None
        models = "\n".join(samples.names)
        return self._journals / f"{hashlib.sha256(models.encode()).hexdigest()[:16]}.journal"
