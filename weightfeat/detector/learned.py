"""What configure leaves behind, and how a row of features becomes a probability by it (numpy only).

The logit of a trojan is train_class_weight * odds + (1 - train_class_weight) * trees, with the log-odds that the
network's classes give and the raw score of the boosted trees. The trees' columns are measured by the architecture's
networks, and by others' where it has none, so that they shift for all networks of a new architecture alike: there the
trees are silent, and their weight is the odds'. Where no class model was learned the trees speak alone.

All that knows one population. The less a network is like it, the more the general model's probability (`general/`)
takes its place: wholly where nothing was learned of its architecture, for nothing shows whose recipe it then has, and
where it was trained otherwise than those of its architecture (`familiarity`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from weightfeat.detector.calibration import Calibration, sigmoid
from weightfeat.detector.classes.models import ClassModels
from weightfeat.detector.familiarity import Familiarity
from weightfeat.detector.forest import Forest
from weightfeat.detector.general.model import General
from weightfeat.detector.kinds import Kind
from weightfeat.detector.normaliser import LEVELS, UNKNOWN, Normaliser
from weightfeat.detector.novelty import FOREIGN_WEIGHT, UNSEEN_WEIGHT, Novelty, Population
from weightfeat.detector.samples import Rows
from weightfeat.errors import BadLearnedParameters
from weightfeat.features.summaries import Array
from weightfeat.metaparameters import Metaparameters

__all__ = ["ODDS", "Learned", "mixed", "with_relative"]

ODDS = "classes.odds"
"""What the class evidence is called among the reasons."""
MANY_BAGS = 20  # with fewer, a 5 % quantile says no more than the least


@dataclass(frozen=True, eq=False)
class Learned:
    """Learned parameters. `training` says what they were learned from (JSON values only); `own` what was said out of
    fold of the networks they were learned from.

    Where `classes` is there, every method wants the networks' `odds` beside their rows, NaN for a network without any;
    where `general` is, what becomes a probability wants its logits, (rows,), as well.
    """

    params: Metaparameters
    feature_names: tuple[str, ...]
    relative_columns: tuple[str, ...]
    normaliser: Normaliser
    forest: Forest
    calibration: Calibration
    population: Population
    classes: ClassModels | None = None
    general: General | None = None
    familiarity: Familiarity | None = None
    own: Kind = field(default_factory=lambda: Kind(np.zeros(0), 0.5))
    training: dict[str, Any] = field(default_factory=dict)

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
        return replace(
            rows, names=self.feature_names, values=rows.values[:, [at[name] for name in self.feature_names]]
        )

    def logit(self, rows: Rows, odds: Array | None = None) -> Array:
        """Of a trojan before calibration, (rows,)."""
        rows = self.aligned(rows)
        return mixed(self.forest.raw(self._columns(rows)), odds, self._trees_share(rows, odds))

    def novelty(self, rows: Rows) -> Novelty:
        """Distance to the training population; a network compared with its family or the pool only is novel too."""
        rows = self.aligned(rows)
        distance = self.population.distance(self._normalised(rows))
        level = self.normaliser.levels(rows.architecture, rows.family)
        # A population of architectures without a name knows such networks by what they are like alone.
        unnamed = UNKNOWN in self.training.get("architectures", ())
        unseen = UNSEEN_WEIGHT if self.general is None or unnamed else FOREIGN_WEIGHT
        weight = np.maximum(self.population.weight(distance), np.array(unseen)[level])
        if self.familiarity is not None and self.general is not None and rows.training is not None:
            weight = np.maximum(weight, self.familiarity.weight(rows.architecture, rows.training))
        return Novelty(distance, self.population.quantile(distance), weight, tuple(LEVELS[i] for i in level))

    def is_foreign(self, novelty: Novelty) -> bool:
        """Whether more of the (first) row's probability is the general model's than the population's."""
        return bool(self.params.infer_novelty_pull * novelty.weight[0] > 0.5)

    def probability(self, rows: Rows, odds: Array | None = None, general: Array | None = None) -> Array:
        """Calibrated probability of a trojan, mixed with the general model's by novelty, then clipped, (rows,).

        p' = (1 - u) p + u g with u = infer_novelty_pull * novelty weight. Without a general model g is the prior.
        """
        return self._probability(self.logit(rows, odds), self.novelty(rows).weight, general)

    def interval(self, rows: Rows, odds: Sequence[Array] = (), general: Array | None = None) -> Array:
        """Lowest and highest of the members' own probabilities, (rows, 2).

        Members are the trees' bags, each in the place of their mean beside each of `odds`, (rows,): the network's own,
        then those by the class models' members. Of many bags the 5 and 95 % quantiles count. What differs is what a
        member drew, and, as far as the general model speaks, what is not known of a recipe. Bags speak here whatever
        the architecture, and the probability itself lies within: where it was made without them, the interval shows
        what they would say.
        """
        rows = self.aligned(rows)
        bags, weight = self.forest.raw_by_bag(self._columns(rows)), self.novelty(rows).weight
        ends = (0.05, 0.95) if bags.shape[1] >= MANY_BAGS else (0.0, 1.0)
        found = []
        for each in odds or (None,):
            beside, share = (
                (None, 1.0) if each is None else (each[:, None], 1 - self.params.train_class_weight)
            )
            by_bag, own = mixed(bags, beside, share), self.logit(rows, each)
            for elsewhere in self._elsewhere(general):
                apart = None if elsewhere is None else elsewhere[:, None]
                p = self._probability(by_bag, weight[:, None], apart)
                found += [*np.quantile(p, ends, axis=1), self._probability(own, weight, elsewhere)]
        return np.stack([np.min(found, axis=0), np.max(found, axis=0)], axis=1)

    def reasons(self, rows: Rows, count: int, odds: Array | None = None) -> list[tuple[str, float]]:
        """What moved the first row's logit most: features, and `ODDS`, with what each added, largest first.

        A relative feature's copy as it is counts for the feature.
        """
        rows = self.aligned(rows)
        share = float(self._trees_share(rows, odds)[0])
        parts = share * self.forest.contributions(self._columns(rows)[0])
        total = dict(zip(self.feature_names, parts[: len(self.feature_names)].tolist(), strict=True))
        for name, part in zip(self.relative_columns, parts[len(self.feature_names) :].tolist(), strict=True):
            total[name] += part
        if odds is not None:
            total[ODDS] = (1 - share) * float(np.nan_to_num(odds[0], nan=0.0))
        ranked = sorted(total.items(), key=lambda item: (-abs(item[1]), item[0]))
        return [(name, part) for name, part in ranked[:count] if part != 0]

    def _normalised(self, rows: Rows) -> Array:
        return self.normaliser.transform(rows.values, rows.architecture, rows.family)

    def _columns(self, rows: Rows) -> Array:
        """What the trees are asked about: normalised columns, then the relative ones as they are."""
        return with_relative(self._normalised(rows), rows, self.relative_columns)

    def _trees_share(self, rows: Rows, odds: Array | None) -> Array:
        """Of the logit, (rows,): all of it without odds, none for an architecture they learned no network of."""
        if odds is None:
            return np.ones(len(rows.values))
        known = self.normaliser.levels(rows.architecture, rows.family) == LEVELS.index("architecture")
        return np.where(known, 1 - self.params.train_class_weight, 0.0)

    def _elsewhere(self, general: Array | None) -> tuple[Array | None, ...]:
        """The general model's logits as they are under the recipes that hold nine in ten between them."""
        if general is None or self.general is None:
            return (None,)
        return self.general.ends(general)

    def _probability(self, logit: Array, novelty: Array, general: Array | None = None) -> Array:
        p = sigmoid(self.calibration.logit(logit))
        pull, prior = self.params.infer_novelty_pull * novelty, self.params.infer_prior
        elsewhere = prior if general is None else sigmoid(general + np.log(prior / (1 - prior)))
        return np.clip((1 - pull) * p + pull * elsewhere, self.params.infer_clip, 1 - self.params.infer_clip)


def mixed(trees: Array, odds: Array | None, share: Array | float) -> Array:
    """The logit; a network without odds has none to add."""
    return trees if odds is None else share * trees + (1 - share) * np.nan_to_num(odds, nan=0.0)


def with_relative(z: Array, rows: Rows, columns: Sequence[str]) -> Array:
    """Normalised columns, then the values of `columns` as they are."""
    at = {name: i for i, name in enumerate(rows.names)}
    return np.hstack([z, rows.values[:, [at[name] for name in columns]]]) if columns else z
