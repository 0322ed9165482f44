"""The general model: from a network's classes to a probability that was tried on recipes it had not learned from.

Of one target two views of the same statistics speak, each for half: which class it would be (`alternatives`), and how
far the loudest class stands out of its network (`numbers`). Either alone is told apart less well on recipes left out.
That each class is taken for the next is a third way in which a network can have come to be (`features/cycles.py`).

Its calibration, its interval and the share of clean networks that are at least as suspicious all come from networks of
origins that were left out of learning: what it says of a recipe that nobody knows was measured on such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weightfeat.detector.calibration import Calibration
from weightfeat.detector.classes.models import FEWEST_CLASSES
from weightfeat.detector.general.alternatives import Alternatives
from weightfeat.detector.general.standing import Standing
from weightfeat.detector.kinds import ALL, Kind
from weightfeat.detector.linear import Linear
from weightfeat.features.summaries import Array

__all__ = ["GENERAL", "General", "kind_of", "raw_logit"]

GENERAL = "general.logit"
"""What the general model's part is called among the reasons."""
NINETY = 1.645  # standard deviations either side that hold nine tenths of a normal law


@dataclass(frozen=True, eq=False)
class General:
    """The two views, and what was measured of them together.

    Attributes
    ----------
    doubt : standard deviation of the logit's shift: what is not known about a recipe (`doubt.doubt_between`).
    kinds : by `kind_of`; `ALL` is always among them.
    """

    alternatives: Alternatives
    loudest: Linear
    calibration: Calibration
    doubt: float
    kinds: Mapping[str, Kind]

    def logit(self, standing: Standing) -> float:
        """Calibrated log-odds of a trojan; 0 where there are fewer than three classes: none of them can stand out."""
        if standing.count < FEWEST_CLASSES:
            return 0.0
        return float(
            self.calibration.logit(np.array([raw_logit(self.alternatives, self.loudest, standing)]))[0]
        )

    def logits(self, networks: Sequence[Standing]) -> Array:
        """`logit` of several, (n,)."""
        return np.array([self.logit(standing) for standing in networks])

    def ends(self, logit: Array) -> tuple[Array, Array]:
        """What these logits are under the recipes that hold nine in ten between them."""
        return logit - NINETY * self.doubt, logit + NINETY * self.doubt

    def measured(self, standing: Standing) -> Kind:
        """On the like of this network, or on all where there are too few of them."""
        return self.kinds.get(kind_of(standing), self.kinds[ALL])

    def suspect(self, standing: Standing) -> int | None:
        """The class most like a target; None where each is likelier to be taken for the next."""
        one, each = one_logit(self.alternatives, self.loudest, standing), self.alternatives.next(standing)
        return None if each > one else int(self.alternatives.classes(standing).argmax())


def raw_logit(alternatives: Alternatives, loudest: Linear, standing: Standing) -> float:
    """Log-odds of a trojan before calibration: of one target, or of each class taken for the next."""
    return float(np.logaddexp(one_logit(alternatives, loudest, standing), alternatives.next(standing)))


def one_logit(alternatives: Alternatives, loudest: Linear, standing: Standing) -> float:
    """Of one target: the mean of what the two views say."""
    return 0.5 * (alternatives.one(standing) + float(loudest.raw(standing.numbers[None])[0]))


def kind_of(standing: Standing) -> str:
    """By what its file shows: whether a batch norm feeds the head, for what is known of its inputs hangs on that."""
    return "normed" if standing.normed else "unnormed"
