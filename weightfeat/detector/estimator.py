"""The detector as a scikit-learn style classifier."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weightfeat.detector import store
from weightfeat.detector.learned import Attachment, Learned, Table, as_rows
from weightfeat.detector.novelty import Novelty
from weightfeat.detector.training import OutOfFold, learn
from weightfeat.metaparameters import Metaparameters

__all__ = ["Detector"]


class Detector:
    """Says how likely a network is trojaned from its row of features.

    Parameters
    ----------
    params : the metaparameters; `train_*` shape `fit`, `infer_*` shape `predict_proba`.
    raw_columns : features without a dimension, kept as they are beside their normalised copies where `train_keep_raw`.
    logistic_columns, tree_columns : the features that the logistic regression, the trees, may use; None: all.
    log_odds : a feature that is a log-odds of a trojan by itself. Where any row has it, it takes the place of the
        logistic regression.
    threads : ensemble members grown at once; never changes a result.

    It follows scikit-learn's conventions (`clone`, `cross_val_score`, `set_params(params__train_num_leaves=7)`)
    without importing it, so that scoring needs numpy only. Architecture and family of each row are keyword
    arguments; without them all rows form one population.
    """

    _estimator_type = "classifier"

    def __init__(
        self,
        params: Metaparameters,
        *,
        raw_columns: Sequence[str] | None = None,
        logistic_columns: Sequence[str] | None = None,
        log_odds: str | None = None,
        tree_columns: Sequence[str] | None = None,
        threads: int = 1,
    ) -> None:
        self.params = params
        self.raw_columns = raw_columns
        self.logistic_columns = logistic_columns
        self.log_odds = log_odds
        self.tree_columns = tree_columns
        self.threads = threads

    def fit(
        self,
        X: Table,
        y: ArrayLike,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> Detector:
        """Learn from rows (NaN allowed) and labels 0 or 1; rows of one group never fall on both sides of a fold.

        Raises BadRound for labels of one class only.
        """
        rows = as_rows(X, architecture, family)
        labels = np.asarray(y).astype(np.int64)
        columns = (self.raw_columns or (), self.logistic_columns, self.log_odds, self.tree_columns)
        self.learned_, self.out_of_fold_ = learn(rows, labels, groups, *columns, self.params, self.threads)
        return self._publish(self.learned_)

    def predict_proba(
        self,
        X: Table,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
    ) -> NDArray[np.float64]:
        """Columns: probability of a clean and of a trojaned network, (rows, 2).

        Raises BadLearnedParameters where X lacks a feature that was learned from.
        """
        p = self._inference().probability(as_rows(X, architecture, family))
        return np.column_stack([1 - p, p])

    def interval(
        self,
        X: Table,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
    ) -> NDArray[np.float64]:
        """Range of a trojan's probability over the ensemble's members, (rows, 2): see `Learned.interval`."""
        return self._inference().interval(as_rows(X, architecture, family))

    def predict(
        self,
        X: Table,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
    ) -> NDArray[np.int64]:
        """1 where a trojan is at least as likely as none."""
        p = self.predict_proba(X, architecture=architecture, family=family)[:, 1]
        return (p >= 0.5).astype(np.int64)

    def score(
        self,
        X: Table,
        y: ArrayLike,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
    ) -> float:
        """Share of right predictions."""
        return float(np.mean(self.predict(X, architecture=architecture, family=family) == np.asarray(y)))

    def novelty(
        self,
        X: Table,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
    ) -> Novelty:
        """How far each row lies from the training population, and which population it was compared with."""
        return self._inference().novelty(as_rows(X, architecture, family))

    def reasons(
        self,
        row: Table,
        k: int = 10,
        *,
        architecture: Sequence[str] | None = None,
        family: Sequence[str] | None = None,
    ) -> list[tuple[str, float]]:
        """The k features that moved the (first) row's logit most and by how much, before calibration."""
        return self._inference().reasons(as_rows(row, architecture, family), k)

    def with_inference(self, params: Metaparameters) -> Detector:
        """The same learned parameters under the `infer_*` values of `params`."""
        other = Detector(
            self.params.replace(**params.infer_dict()), raw_columns=self.raw_columns, threads=self.threads
        )
        other.learned_ = self._fitted()
        if hasattr(self, "out_of_fold_"):
            other.out_of_fold_ = self.out_of_fold_
        return other._publish(other.learned_)

    def save(
        self,
        directory: Path,
        *,
        scores: Mapping[str, Any] | None = None,
        attachment: Attachment | None = None,
    ) -> None:
        """Write the learned parameters; killed at any moment, the old ones stay usable. Raises BadOutput."""
        store.save(dataclasses.replace(self._inference(), attachment=attachment), Path(directory), scores)

    @property
    def attachment(self) -> Attachment | None:
        """What was saved with the learned parameters this detector was loaded from."""
        return self._fitted().attachment

    @classmethod
    def load(cls, directory: Path, *, threads: int = 1) -> Detector:
        """Read what `save` wrote, trusting none of it. Raises BadLearnedParameters."""
        learned = store.load(Path(directory))
        detector = cls(learned.params, raw_columns=learned.raw_columns, threads=threads)
        detector.learned_ = learned
        return detector._publish(learned)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Constructor arguments; with `deep`, every metaparameter as params__NAME too."""
        own: dict[str, Any] = {
            "params": self.params,
            "raw_columns": self.raw_columns,
            "logistic_columns": self.logistic_columns,
            "log_odds": self.log_odds,
            "tree_columns": self.tree_columns,
            "threads": self.threads,
        }
        inner = {f"params__{name}": value for name, value in self.params.as_dict().items()} if deep else {}
        return own | inner

    def set_params(self, **values: Any) -> Detector:
        """Change constructor arguments or, as params__NAME, single metaparameters."""
        unknown = set(values) - set(self.get_params())
        if unknown:
            raise ValueError(f"unknown parameter {sorted(unknown)[0]}")
        inner = {name.removeprefix("params__"): value for name, value in values.items() if "__" in name}
        for name in values.keys() - {f"params__{name}" for name in inner}:
            setattr(self, name, values[name])
        if inner:
            self.params = self.params.replace(**inner)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_class=False),
            input_tags=InputTags(allow_nan=True),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "learned_")

    learned_: Learned
    out_of_fold_: OutOfFold
    classes_: NDArray[np.int64]
    feature_names_: tuple[str, ...]
    n_features_in_: int

    def _publish(self, learned: Learned) -> Detector:
        self.classes_ = np.array([0, 1])
        self.feature_names_ = learned.feature_names
        self.n_features_in_ = len(learned.feature_names)
        return self

    def _fitted(self) -> Learned:
        if not hasattr(self, "learned_"):
            raise AttributeError("this Detector is not fitted: call fit or load first")
        return self.learned_

    def _inference(self) -> Learned:
        """Learned parameters under this detector's present `infer_*` values."""
        learned = self._fitted()
        return dataclasses.replace(learned, params=learned.params.replace(**self.params.infer_dict()))
