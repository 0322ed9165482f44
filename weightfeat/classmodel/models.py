"""The two models: which class is the target, if any is; and is this ordered pair (target, source) a trojan's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.classmodel.joint import Example, Joint, fit_joint, log_odds
from weightfeat.classmodel.rows import ClassRows
from weightfeat.classmodel.scales import Scales, fit_scales
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.classmodel.targets import Target
from weightfeat.detector.linear import Linear, fit_linear
from weightfeat.features.summaries import Array


@dataclass(frozen=True, eq=False)
class ClassModels:
    """The scales that rows are measured with, and both models; None for a model there was nothing to learn from.

    `members` are target models learned from a part of the networks each: how far they differ shows how much hangs on
    which networks there were to learn from.
    """

    scales: Scales
    target: Joint | None
    pair: Linear | None
    members: tuple[Joint, ...] = ()

    def scores(self, rows: ClassRows) -> tuple[Array | None, Array | None]:
        """Scores of every class (C,), as `joint` reads them, and logits of every ordered pair (C, C), target first."""
        classes, pairs = self.scales.standard(rows)
        scores = None if self.target is None else self.target.scores(classes, rows.normed)
        if self.pair is None:
            return scores, None
        return scores, self.pair.raw(pairs.reshape(rows.count**2, -1)).reshape(rows.count, rows.count)

    def member_odds(self, rows: ClassRows) -> list[float]:
        """The log-odds of a trojan that every member gives by itself."""
        classes = self.scales.standard_classes(rows)
        return [log_odds(member.scores(classes, rows.normed)) for member in self.members]


def fit_models(
    rows: Sequence[ClassRows],
    labels: NDArray[np.int64],
    targets: Sequence[Target | None],
    settings: ClassSettings,
) -> ClassModels:
    """Scales and both models. Classes of clean networks are counter-examples; trojans without a named target teach
    scales only.

    Pairs are learned from clean networks and from trojans with one or two sources: where all classes are sources,
    a pair says no more than its target.
    """
    from threadpoolctl import threadpool_limits

    scales = fit_scales(rows)
    taught = [
        (r.normed, *scales.standard(r), t)
        for r, y, t in zip(rows, labels, targets, strict=True)
        if t is not None or not y
    ]
    named = [Example(classes, normed, None if t is None else t.target) for normed, classes, _, t in taught]
    paired = [_pair_examples(pairs, t) for _, _, pairs, t in taught if t is None or t.sources]
    # One thread: sums in linear algebra depend on their number in the last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        return ClassModels(scales, _fit_target(named, settings), _fit_pair(paired, settings.pair_c))


def _fit_target(named: Sequence[Example], settings: ClassSettings) -> Joint | None:
    if all(example.target is None for example in named):
        return None
    return fit_joint(named, settings.class_c, settings.class_own_c, settings.naming)


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
