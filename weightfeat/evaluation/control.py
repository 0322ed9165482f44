"""The metadata-only control: what the architecture and the number of classes alone would score.

A detector that does not beat it has learned who made the models, not what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weightfeat.evaluation.crossval import CrossValidation, Progress, cross_validate
from weightfeat.evaluation.folds import Fold

if TYPE_CHECKING:
    import pandas as pd


def control_features(
    names: Sequence[str], architectures: Sequence[str], class_counts: Sequence[float]
) -> pd.DataFrame:
    """A 0/1 column for each architecture and the class count, a row a model; an unknown count is NaN."""
    import pandas as pd

    onehot = pd.DataFrame(
        {
            f"architecture={name}": [float(a == name) for a in architectures]
            for name in sorted(set(architectures))
        },
        index=list(names),
    )
    return onehot.assign(classes=np.asarray(class_counts, dtype=np.float64))


class MetadataControl:
    """A scikit-learn classifier on `control_features`, imputed and standardised on the training rows."""

    def __init__(self, make_classifier: Callable[[], Any]) -> None:
        self._make_classifier = make_classifier

    def fit(
        self,
        X: pd.DataFrame,
        y: NDArray[np.int64],
        *,
        architecture: Sequence[str],
        family: Sequence[str],
        groups: Sequence[str] | None = None,
    ) -> MetadataControl:
        """Learn from the columns alone; the other arguments are the estimators' common form."""
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        self._model = make_pipeline(imputer, StandardScaler(), self._make_classifier()).fit(X.to_numpy(), y)
        return self

    def predict_proba(
        self, X: pd.DataFrame, *, architecture: Sequence[str], family: Sequence[str]
    ) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        return np.asarray(self._model.predict_proba(X.to_numpy()), dtype=np.float64)


def logistic_control() -> MetadataControl:
    """An L2 logistic regression, the additive part of what metadata tells."""
    from sklearn.linear_model import LogisticRegression

    return MetadataControl(lambda: LogisticRegression(C=0.1, max_iter=1000))


def trees_control() -> MetadataControl:
    """A small random forest, which also sees interactions of architecture and class count."""
    from sklearn.ensemble import RandomForestClassifier

    return MetadataControl(
        lambda: RandomForestClassifier(n_estimators=50, max_depth=3, min_samples_leaf=5, random_state=0)
    )


CONTROLS: dict[str, Callable[[], MetadataControl]] = {"logistic": logistic_control, "trees": trees_control}


def cross_validate_controls(
    names: Sequence[str],
    labels: ArrayLike,
    architectures: Sequence[str],
    families: Sequence[str],
    class_counts: Sequence[float],
    folds: Sequence[Fold],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> dict[str, CrossValidation]:
    """Every control of CONTROLS on the folds that the detector was tested on."""
    X = control_features(names, architectures, class_counts)
    return {
        kind: cross_validate(
            X, labels, architectures, families, None, make, folds, jobs=jobs, progress=progress
        )
        for kind, make in CONTROLS.items()
    }
