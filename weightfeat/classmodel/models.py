"""The two models: which class is the target, if any is; and is this ordered pair (target, source) a trojan's.

The first has coefficients of their own for networks whose head a batch norm feeds and for those without: what is known
of the head's inputs is a law of the training data in the one and a guess in the other. And for every family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.classmodel.joint import Example, Groups, Joint, fit_joint, log_odds
from weightfeat.classmodel.rows import ClassRows
from weightfeat.classmodel.scales import Scales, fit_scales
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.classmodel.targets import Target
from weightfeat.detector.linear import Linear, fit_linear
from weightfeat.detector.normaliser import UNKNOWN
from weightfeat.features.summaries import Array


@dataclass(frozen=True, eq=False)
class ClassModels:
    """The scales that rows are measured with, the families whose networks have coefficients of their own, and both
    models; None for a model there was nothing to learn from.

    `members` are target models learned from a part of the networks each: how far they differ shows how much hangs on
    which networks there were to learn from.
    """

    scales: Scales
    families: tuple[str, ...]
    target: Joint | None
    pair: Linear | None
    members: tuple[Joint, ...] = ()

    def scores(self, rows: ClassRows) -> tuple[Array | None, Array | None]:
        """Scores of every class (C,), as `joint` reads them, and logits of every ordered pair (C, C), target first."""
        classes, pairs = self.scales.standard(rows)
        scores = None if self.target is None else self.target.scores(classes, groups_of(rows, self.families))
        if self.pair is None:
            return scores, None
        return scores, self.pair.raw(pairs.reshape(rows.count**2, -1)).reshape(rows.count, rows.count)

    def member_odds(self, rows: ClassRows) -> list[float]:
        """The log-odds of a trojan that every member gives by itself."""
        classes, groups = self.scales.standard_classes(rows), groups_of(rows, self.families)
        return [log_odds(member.scores(classes, groups)) for member in self.members]


def groups_of(rows: ClassRows, families: Sequence[str]) -> Groups:
    """A mark for each of: no batch norm before the head, one, and every family; a family not named is in none."""
    return (not rows.normed, rows.normed, *(rows.family == family for family in families))


def families_of(rows: Sequence[ClassRows]) -> tuple[str, ...]:
    """Those that have a name, in order."""
    return tuple(sorted({network.family for network in rows} - {UNKNOWN}))


def fit_models(
    rows: Sequence[ClassRows],
    labels: NDArray[np.int64],
    targets: Sequence[Target | None],
    settings: ClassSettings,
    families: tuple[str, ...],
) -> ClassModels:
    """Scales and both models. Classes of clean networks are counter-examples; trojans without a named target teach
    scales only. One of the `families` that no network is of has coefficients of zero.

    Pairs are learned from clean networks and from trojans with one or two sources: where all classes are sources,
    a pair says no more than its target.
    """
    from threadpoolctl import threadpool_limits

    scales = fit_scales(rows, settings.scale_classes)
    taught = [
        (groups_of(r, families), *scales.standard(r), t)
        for r, y, t in zip(rows, labels, targets, strict=True)
        if t is not None or not y
    ]
    named = [Example(classes, groups, None if t is None else t.target) for groups, classes, _, t in taught]
    paired = [_pair_examples(pairs, t) for _, _, pairs, t in taught if t is None or t.sources]
    # One thread: sums in linear algebra depend on their number in the last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        return ClassModels(scales, families, _fit_target(named, settings), _fit_pair(paired, settings.pair_c))


def _fit_target(named: Sequence[Example], settings: ClassSettings) -> Joint | None:
    if all(example.target is None for example in named):
        return None
    families = len(named[0].groups) - 2
    own = [settings.class_own_c] * 2 + [settings.class_family_c] * families
    return fit_joint(named, settings.class_c, own, settings.squares)


def _fit_pair(parts: Sequence[tuple[Array, NDArray[np.int64]]], c: float) -> Linear | None:
    if not parts:
        return None
    x, y = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    return fit_linear(x, y, c) if 0 < y.sum() < len(y) else None


def _pair_examples(pairs: Array, target: Target | None) -> tuple[Array, NDArray[np.int64]]:
    count = len(pairs)
    outside = ~np.eye(count, dtype=bool)
    out = np.zeros((count, count), dtype=np.int64)
    if target is not None:
        out[target.target, list(target.sources)] = 1
    return pairs[outside], out[outside]
