"""The detector's trees, calibration and novelty as a scikit-learn classifier of plain tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from weightfeat.detector.learned import Learned
from weightfeat.detector.samples import Rows, Samples
from weightfeat.detector.training import OutOfFold, learn
from weightfeat.metaparameters import Metaparameters

__all__ = ["TableDetector"]


class TableDetector(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A binary classifier of rows of numbers, NaN for what is missing; no classes of networks are looked at.

    Parameters
    ----------
    params : the metaparameters.
    relative_columns : positions of the columns that mean the same in every architecture, kept as they are beside their
        normalised copies where `train_keep_raw`.
    threads : ensemble members grown at once; never changes a result.

    `architecture` and `family`, one a row, are keyword arguments of `fit` and of every prediction; without them all
    rows form one population.
    """

    def __init__(
        self, params: Metaparameters, *, relative_columns: Sequence[int] = (), threads: int = 1
    ) -> None:
        self.params = params
        self.relative_columns = relative_columns
        self.threads = threads

    learned_: Learned
    out_of_fold_: OutOfFold
    classes_: NDArray[Any]

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> TableDetector:
        """Learn from rows and two labels, the greater of which stands for trojaned; groups stay in one fold.

        Raises ValueError for other than two labels, as scikit-learn wants it.
        """
        values, labels = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) != 2:
            raise ValueError(
                f"Only binary classification is supported: two classes, not {len(self.classes_)} class"
            )
        rows = _rows(values, architecture, family)
        relative = tuple(rows.names[at] for at in self.relative_columns)
        samples = Samples.of_table(rows, codes, group=groups, relative_columns=relative)
        self.learned_, self.out_of_fold_ = learn(samples, self.params, self.threads)
        return self

    def predict_proba(
        self,
        X: ArrayLike,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
    ) -> NDArray[np.float64]:
        """Columns: probability of either of `classes_`, (rows, 2)."""
        check_is_fitted(self)
        values = validate_data(self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        p = self.learned_.probability(_rows(values, architecture, family))
        return np.column_stack([1 - p, p])

    def predict(
        self,
        X: ArrayLike,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
    ) -> NDArray[Any]:
        """The likelier of `classes_`, the greater where both are alike."""
        p = self.predict_proba(X, architecture=architecture, family=family)[:, 1]
        return np.asarray(self.classes_[(p >= 0.5).astype(np.int64)])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags


def _rows(
    values: NDArray[np.float64], architecture: Sequence[str] | None, family: Sequence[str] | None
) -> Rows:
    return Rows.of([f"x{at}" for at in range(values.shape[1])], values, architecture, family)
