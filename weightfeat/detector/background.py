"""What a verdict is seen against: networks that were judged without having been learned from, and its own classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weightfeat.detector.kinds import Kind
from weightfeat.features.summaries import Array

__all__ = ["Background"]


@dataclass(frozen=True, eq=False)
class Background:
    """Attributes
    ----------
    kind : what was said out of fold of the networks that this one is compared with.
    known : whether they are those of the population that was learned from; else networks of other recipes.
    suspicion : how much each class looks like a trojan's target, (C,). The class model's probability that the network
        is trojaned and this is the target where `known`, else the general model's log-odds of this target, or without
        one the mean of `standing`.
    standing : by statistic (`general.statistics.TOGETHER`) how far each class stands out of its network's classes,
        (C,), in their usual deviations, within +-6. All of them rise at a trojan's target.
    """

    kind: Kind
    known: bool
    suspicion: Array
    standing: Mapping[str, Array]
