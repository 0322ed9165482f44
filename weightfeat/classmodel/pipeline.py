"""A detector whose rows carry class evidence, learned inside whatever fold it is fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from weightfeat.classmodel.evidence import ClassEvidence
from weightfeat.classmodel.rows import ClassRows
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.classmodel.targets import Target
from weightfeat.evaluation.crossval import Estimator

if TYPE_CHECKING:
    import pandas as pd


class WithClassEvidence:
    """Cross-validates like a detector. X must be indexed by network name: class rows and targets are found by it.

    The rows are functions of a digest alone; of the targets only those of the networks passed to `fit` are looked at.
    """

    def __init__(
        self,
        make_detector: Callable[[], Estimator],
        rows: Mapping[str, ClassRows],
        targets: Mapping[str, Target | None],
        settings: ClassSettings | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self._make, self._rows, self._targets = make_detector, rows, targets
        self._settings, self._alone = settings, alone

    def fit(
        self,
        X: pd.DataFrame,
        y: NDArray[np.int64],
        *,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str] | None = None,
    ) -> WithClassEvidence:
        """Learn the class models, then the detector on X with their out-of-fold columns."""
        names = [str(name) for name in X.index]
        self.evidence_ = ClassEvidence(self._settings)
        extra = self.evidence_.fit_transform(
            [self._rows[name] for name in names], y, [self._targets[name] for name in names], groups, names
        )
        self._detector = self._make()
        self._detector.fit(self._joined(X, extra), y, architecture=architecture, family=family, groups=groups)
        return self

    def predict_proba(
        self, X: pd.DataFrame, *, architecture: Sequence[str], family: Sequence[str]
    ) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        names = [str(name) for name in X.index]
        extra = self.evidence_.transform([self._rows[name] for name in names], names)
        return self._detector.predict_proba(self._joined(X, extra), architecture=architecture, family=family)

    def _joined(self, X: pd.DataFrame, extra: pd.DataFrame) -> pd.DataFrame:
        return extra if self._alone else X.join(extra)
