"""The metadata-only control: what the architecture and the number of classes alone would score.

A detector that does not beat it has learned who made the models, not what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.folds import Fold
from weightfeat.detector.out_of_fold import Progress
from weightfeat.detector.samples import Samples
from weightfeat.evaluation.crossval import CrossValidation, cross_validate


def control_samples(samples: Samples) -> Samples:
    """The same networks as a table: a 0/1 column for each architecture, and the number of classes."""
    names = sorted(set(samples.architecture))
    onehot = [[float(own == name) for name in names] for own in samples.architecture]
    values = np.column_stack([np.array(onehot), np.array(samples.class_counts, dtype=np.float64)])
    return samples.with_table([*(f"architecture={name}" for name in names), "classes"], values)


class MetadataControl:
    """A scikit-learn classifier on `control_samples`, imputed and standardised on the training rows."""

    def __init__(self, make_classifier: Callable[[], Any]) -> None:
        self._make_classifier = make_classifier

    def fit(self, samples: Samples) -> MetadataControl:
        """Learn from the table's columns alone."""
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        imputer = SimpleImputer(strategy="median", keep_empty_features=True)
        self._model = make_pipeline(imputer, StandardScaler(), self._make_classifier())
        self._model.fit(samples.rows(()).values, samples.y)
        return self

    def predict_proba(self, samples: Samples) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        return np.asarray(self._model.predict_proba(samples.rows(()).values), dtype=np.float64)


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
    samples: Samples, folds: Sequence[Fold], *, jobs: int = 1, progress: Progress | None = None
) -> dict[str, CrossValidation]:
    """Every control of CONTROLS on the folds that the detector was tested on."""
    known = control_samples(samples)
    return {
        kind: cross_validate(known, make, folds, jobs=jobs, progress=progress)
        for kind, make in CONTROLS.items()
    }
