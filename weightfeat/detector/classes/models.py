"""The two models: which class is the target, if any is; and is this ordered pair (target, source) a trojan's.

The first has coefficients of their own for networks whose head a batch norm feeds and for those without: what is known
of the head's inputs is a law of the training data in the one and a guess in the other. And for every family. The second
names the suspected target's likeliest source, and has no part in a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.classes.joint import (
    Example,
    Groups,
    Joint,
    fit_joint,
    log_odds,
    target_probabilities,
)
from weightfeat.detector.classes.pairs import spread_targets
from weightfeat.detector.classes.rows import ClassRows
from weightfeat.detector.classes.scales import Scales, fit_scales, measured
from weightfeat.detector.classes.targets import Target
from weightfeat.detector.linear import Linear, fit_linear
from weightfeat.detector.normaliser import UNKNOWN
from weightfeat.features.summaries import Array

if TYPE_CHECKING:
    from weightfeat.detector.samples import Samples
    from weightfeat.metaparameters import Metaparameters

FEWEST_CLASSES = 3
"""Of two classes neither stands out from the rest: such a network has no odds."""
MOST_ODDS = 10.0
"""How far log-odds go: one network's classes never leave less than one chance in 22,000."""
PAIR_C = 3.0
"""Prior variance of a standard pair's logit (`fit_linear`): no search found another to matter."""


@dataclass(frozen=True)
class Suspect:
    """The likeliest target class, the likeliest source for it (None without a pair model), and the class's own p.

    `probability` is that of a trojan with this target, as the class model alone sees it.
    """

    target: int
    source: int | None
    probability: float


@dataclass(frozen=True)
class ClassEvidence:
    """What the classes of one network say: the log-odds of a trojan, NaN with too few classes, and those that every
    member gives by itself."""

    odds: float
    member_odds: tuple[float, ...]
    suspect: Suspect


@dataclass(frozen=True, eq=False)
class ClassModels:
    """The scales that rows are measured with, the families whose networks have coefficients of their own, and both
    models; `pair` is None where no trojan named its sources.

    `members` are target models learned from a part of the networks each: how far they differ shows how much hangs on
    which networks there were to learn from.
    """

    scales: Scales
    families: tuple[str, ...]
    target: Joint
    pair: Linear | None = None
    members: tuple[Joint, ...] = ()

    def odds(self, networks: Sequence[ClassRows]) -> Array:
        """The log-odds of a trojan, (networks,); NaN with too few classes."""
        return np.array([self._odds(self.target, rows, self.scales.of(rows)[0]) for rows in networks])

    def evidence(self, rows: ClassRows) -> ClassEvidence:
        """All that is said of one network."""
        class_scale, pair_scale = self.scales.of(rows)
        scores = self._scores(self.target, rows, class_scale)
        target = int(scores.argmax())
        members = self.members if rows.count >= FEWEST_CLASSES else ()
        return ClassEvidence(
            self._odds(self.target, rows, class_scale),
            tuple(self._odds(member, rows, class_scale) for member in members),
            Suspect(
                target, self._source(rows, target, pair_scale), float(target_probabilities(scores)[target])
            ),
        )

    def suspicion(self, rows: ClassRows) -> Array:
        """P(the network is trojaned and this class is the target) of every class, (C,)."""
        return target_probabilities(self._scores(self.target, rows, self.scales.of(rows)[0]))

    def _odds(self, model: Joint, rows: ClassRows, scale: Array) -> float:
        if rows.count < FEWEST_CLASSES:
            return float("nan")
        return float(np.clip(log_odds(self._scores(model, rows, scale)), -MOST_ODDS, MOST_ODDS))

    def _scores(self, model: Joint, rows: ClassRows, scale: Array) -> Array:
        """Of every class, (C,), as `joint` reads them."""
        return model.scores(measured(rows.classes, scale), groups_of(rows, self.families))

    def _source(self, rows: ClassRows, target: int, scale: Array) -> int | None:
        if self.pair is None or rows.count < 2:
            return None
        logits = self.pair.raw(measured(rows.pair_rows([target])[0], scale))
        logits[target] = -np.inf
        return int(logits.argmax())


def groups_of(rows: ClassRows, families: Sequence[str]) -> Groups:
    """A mark for each of: no batch norm before the head, one, and every family; a family not named is in none."""
    return (not rows.normed, rows.normed, *(rows.family == family for family in families))


def families_of(samples: Samples) -> tuple[str, ...]:
    """Those that have a name, in order."""
    return tuple(sorted(set(samples.family) - {UNKNOWN}))


def fit_target_model(
    samples: Samples, params: Metaparameters, families: tuple[str, ...]
) -> ClassModels | None:
    """Scales and the model of targets; None where no trojan names its target.

    Classes of clean networks are counter-examples; trojans without a named target teach scales only. One of the
    `families` that no network is of has coefficients of zero.
    """
    from threadpoolctl import threadpool_limits

    if all(target is None for target in samples.targets):
        return None
    scales = fit_scales(samples.class_rows, params.train_class_scale_classes)
    examples = [
        Example(
            measured(rows.classes, scales.of(rows)[0]),
            groups_of(rows, families),
            () if target is None else target.classes,
        )
        for rows, target in _examples(samples)
    ]
    own = [params.train_class_own_c] * 2 + [params.train_class_family_c] * len(families)
    # One thread: sums in linear algebra depend on their number in the last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        target_model = fit_joint(examples, params.train_class_c, own, params.train_class_squares)
    return ClassModels(scales, families, target_model)


def fit_class_models(samples: Samples, params: Metaparameters) -> ClassModels | None:
    """Both models.

    Pairs are learned from clean networks and from trojans with one or two sources of every target: where all classes
    are sources, a pair says no more than its target.
    """
    from threadpoolctl import threadpool_limits

    models = fit_target_model(samples, params, families_of(samples))
    if models is None:
        return None
    parts = [
        _pair_examples(rows, models.scales.of(rows)[1], target)
        for rows, target in _examples(samples)
        if target is None or all(each.sources for each in target.every)
    ]
    if not parts:
        return models
    x, y = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    if not 0 < y.sum() < len(y):
        return models
    with threadpool_limits(limits=1, user_api="blas"):
        return replace(models, pair=fit_linear(x, y, PAIR_C))


def _examples(samples: Samples) -> list[tuple[ClassRows, Target | None]]:
    """Networks of which the target is known, or that there is none."""
    known = zip(samples.class_rows, samples.targets, samples.y, strict=True)
    return [(rows, target) for rows, target, label in known if target is not None or not label]


def _pair_examples(rows: ClassRows, scale: Array, target: Target | None) -> tuple[Array, NDArray[np.int64]]:
    true = () if target is None else target.every
    targets, table = spread_targets(rows.count), rows.learned_pairs
    beside = [each.target for each in true if each.target not in targets]
    if beside:
        targets, table = [*targets, *beside], np.concatenate([table, rows.pair_rows(beside)])
    found = np.zeros(table.shape[:2], dtype=np.int64)
    for each in true:
        found[targets.index(each.target), list(each.sources)] = 1
    outside = np.array(targets)[:, None] != np.arange(rows.count)
    return measured(table[outside], scale), found[outside]
