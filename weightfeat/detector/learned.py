"""What configure leaves behind, and how a row of features becomes a probability by it (numpy only)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.calibration import Calibration, sigmoid
from weightfeat.detector.classifier import Classifier
from weightfeat.detector.normaliser import LEVELS, Normaliser
from weightfeat.detector.novelty import UNSEEN_WEIGHT, Novelty, Population
from weightfeat.errors import BadLearnedParameters
from weightfeat.metaparameters import Metaparameters

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ONE_POPULATION", "Attachment", "Learned", "Rows", "Table", "as_rows", "with_raw"]

Array = NDArray[np.float64]
MANY_BAGS = 20  # with fewer, a 5 % quantile says no more than the least
ONE_POPULATION = "all"  # stands for architecture and family where the caller names none
Table: TypeAlias = "pd.DataFrame | Mapping[str, float] | tuple[Sequence[str], Any] | NDArray[Any]"


@dataclass(frozen=True, eq=False)
class Rows:
    """Feature rows with the population each belongs to; values are (rows, columns), never infinite."""

    names: tuple[str, ...]
    values: Array
    architecture: tuple[str, ...]
    family: tuple[str, ...]

    def take(self, at: NDArray[np.int64]) -> Rows:
        """The rows at these positions, in this order."""
        chosen = [int(i) for i in at]
        return Rows(
            self.names,
            self.values[at],
            tuple(self.architecture[i] for i in chosen),
            tuple(self.family[i] for i in chosen),
        )


def as_rows(x: Table, architecture: Sequence[str] | None, family: Sequence[str] | None) -> Rows:
    """A DataFrame, a mapping (one row), (names, 2-D array) or a bare 2-D array as rows; infinities become NaN.

    Without an architecture all rows form one population; without a family each architecture is its own. Raises
    ValueError where lengths disagree or a name comes twice.
    """
    values: Any
    if isinstance(x, tuple):
        names, values = [str(name) for name in x[0]], x[1]
    elif isinstance(x, Mapping):
        names, values = [str(name) for name in x], [list(x.values())]
    elif isinstance(x, np.ndarray):
        names, values = [f"x{at}" for at in range(x.shape[-1])], x
    else:
        names, values = [str(name) for name in x.columns], x.to_numpy()
    array = np.array(values, dtype=np.float64, ndmin=2)
    array[np.isinf(array)] = np.nan
    architectures = [ONE_POPULATION] * len(array) if architecture is None else [str(a) for a in architecture]
    families = architectures if family is None else [str(f) for f in family]
    if array.ndim != 2 or array.shape[1] != len(names) or len(set(names)) != len(names):
        raise ValueError(f"{len(names)} distinct column names do not fit an array of shape {array.shape}")
    if not len(array) == len(architectures) == len(families):
        raise ValueError(
            f"{len(array)} rows, {len(architectures)} architectures and {len(families)} families"
        )
    return Rows(tuple(names), array, tuple(architectures), tuple(families))


@dataclass(frozen=True, eq=False)
class Attachment:
    """What another room keeps with the learned parameters: JSON values and arrays, neither understood here."""

    document: dict[str, Any]
    tables: dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Learned:
    """Learned parameters. `training` says what they were learned from (JSON values only)."""

    params: Metaparameters
    feature_names: tuple[str, ...]
    raw_columns: tuple[str, ...]
    normaliser: Normaliser
    classifier: Classifier
    calibration: Calibration
    population: Population
    training: dict[str, Any] = field(default_factory=dict)
    attachment: Attachment | None = None

    def aligned(self, rows: Rows) -> Rows:
        """The same rows with the learned columns in the learned order; further columns are dropped.

        Raises BadLearnedParameters where a learned column is not among them.
        """
        if rows.names == self.feature_names:
            return rows
        at = {name: i for i, name in enumerate(rows.names)}
        missing = [name for name in self.feature_names if name not in at]
        if missing:
            raise BadLearnedParameters(
                f"{len(missing)} learned features are not among those computed (first: {missing[0]})",
                where="feature names",
                expected=f"the {len(self.feature_names)} features that configure saw",
                remedy="run configure again with this version and these feature blocks",
            )
        chosen = rows.values[:, [at[name] for name in self.feature_names]]
        return Rows(self.feature_names, chosen, rows.architecture, rows.family)

    def matrix(self, rows: Rows) -> tuple[Array, Array]:
        """The classifier's columns (normalised, then raw copies) and the normalised ones alone, for aligned rows."""
        z = self.normaliser.transform(rows.values, rows.architecture, rows.family)
        return with_raw(z, rows.values, self.feature_names, self.raw_columns), z

    def logit(self, rows: Rows) -> Array:
        """The stacked logit before calibration, (rows,)."""
        rows = self.aligned(rows)
        return self.classifier.logit(self.matrix(rows)[0], self._heard(rows))

    def novelty(self, rows: Rows) -> Novelty:
        """Distance to the training population; a network compared with its family or the pool only is novel too."""
        rows = self.aligned(rows)
        distance = self.population.distance(self.matrix(rows)[1])
        level = self.normaliser.levels(rows.architecture, rows.family)
        weight = np.maximum(self.population.weight(distance), np.array(UNSEEN_WEIGHT)[level])
        return Novelty(distance, self.population.quantile(distance), weight, tuple(LEVELS[i] for i in level))

    def probability(self, rows: Rows) -> Array:
        """Calibrated probability of a trojan, mixed with the prior by novelty, then clipped, (rows,).

        p' = (1 - u) p + u prior with u = infer_novelty_pull * novelty weight.
        """
        return self._settled(self.logit(rows), self.novelty(rows).weight)

    def interval(self, rows: Rows) -> Array:
        """Lowest and highest of the bags' own probabilities, (rows, 2); their 5 and 95 % quantiles where bags are many.

        Each bag stands in for the mean of all, beside the row's own logistic, and goes the same way to a probability.
        What differs is what a bag drew: doubt about calibration and prior is not in it. Bags are heard here whatever
        the architecture, and the probability itself lies within: where it was made without them, the interval shows
        what they would have said.
        """
        rows = self.aligned(rows)
        x, novelty = self.matrix(rows)[0], self.novelty(rows).weight
        p = self._settled(self.classifier.logit_by_bag(x), novelty[:, None])
        ends = (0.05, 0.95) if p.shape[1] >= MANY_BAGS else (0.0, 1.0)
        low, high = np.quantile(p, ends, axis=1)
        own = self._settled(self.classifier.logit(x, self._heard(rows)), novelty)
        return np.stack([np.minimum(low, own), np.maximum(high, own)], axis=1)

    def _heard(self, rows: Rows) -> Array:
        """What part of their weight the trees keep, (rows,): their columns are measured by the architecture's networks,
        and by others' where it has none, so that they shift for all networks of a new architecture alike."""
        level = self.normaliser.levels(rows.architecture, rows.family)
        return np.where(level == LEVELS.index("architecture"), 1.0, self.params.infer_unseen_trees)

    def _settled(self, logit: Array, novelty: Array) -> Array:
        p = sigmoid(self.calibration.logit(logit))
        pull = self.params.infer_novelty_pull * novelty
        mixed = (1 - pull) * p + pull * self.params.infer_prior
        return np.clip(mixed, self.params.infer_clip, 1 - self.params.infer_clip)

    def reasons(self, rows: Rows, count: int) -> list[tuple[str, float]]:
        """The features that moved the first row's stacked logit most, with what each added, largest first.

        A raw copy counts for its feature.
        """
        rows = self.aligned(rows)
        shares = self.classifier.contributions(self.matrix(rows)[0][0], float(self._heard(rows)[0]))
        total = dict(zip(self.feature_names, shares[: len(self.feature_names)].tolist(), strict=True))
        for name, share in zip(self.raw_columns, shares[len(self.feature_names) :].tolist(), strict=True):
            total[name] += share
        ranked = sorted(total.items(), key=lambda item: (-abs(item[1]), item[0]))
        return [(name, share) for name, share in ranked[:count] if share != 0]


def with_raw(z: Array, values: Array, names: Sequence[str], raw_columns: Sequence[str]) -> Array:
    """Normalised columns, then the values of `raw_columns` as they are."""
    at = {name: i for i, name in enumerate(names)}
    return np.hstack([z, values[:, [at[name] for name in raw_columns]]]) if raw_columns else z
