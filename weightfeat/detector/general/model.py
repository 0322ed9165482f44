"""The general model: from a network's classes to a probability that was tried on recipes it had not learned from.

Two views of the same statistics speak, each for half: which class would be the target (`alternatives`), and how far the
loudest class stands out of its network (`numbers`). Either alone is told apart less well on recipes left out.

Its calibration, its interval and the share of clean networks that are at least as suspicious all come from networks of
origins that were left out of learning: what it says of a recipe that nobody knows was measured on such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weightfeat.detector.calibration import Calibration
from weightfeat.detector.classes.models import FEWEST_CLASSES
from weightfeat.detector.classes.rows import ClassRows
from weightfeat.detector.general.alternatives import Alternatives
from weightfeat.detector.general.numbers import numbers
from weightfeat.detector.kinds import ALL, Kind
from weightfeat.detector.linear import Linear
from weightfeat.features.summaries import Array

__all__ = ["GENERAL", "LEAST_DOUBT", "General", "kind_of", "raw_logit"]

GENERAL = "general.logit"
"""What the general model's part is called among the reasons."""
LEAST_DOUBT = 0.2
"""Standard deviation of the log-odds' shift that no two recipes are believed to be nearer than."""
NINETY = 1.645  # standard deviations either side that hold nine tenths of a normal law


@dataclass(frozen=True, eq=False)
class General:
    """The two views, and what was measured of them together.

    Attributes
    ----------
    doubt : standard deviation, from origin to origin, of the logit's shift: what is not known about a recipe.
    kinds : by `kind_of`; `ALL` is always among them.
    """

    alternatives: Alternatives
    loudest: Linear
    calibration: Calibration
    doubt: float
    kinds: Mapping[str, Kind]

    def logit(self, rows: ClassRows) -> float:
        """Calibrated log-odds of a trojan; 0 where there are fewer than three classes: none of them can stand out."""
        if rows.count < FEWEST_CLASSES:
            return 0.0
        return float(self.calibration.logit(np.array([raw_logit(self.alternatives, self.loudest, rows)]))[0])

    def logits(self, networks: Sequence[ClassRows]) -> Array:
        """`logit` of several, (n,)."""
        return np.array([self.logit(rows) for rows in networks])

    def ends(self, logit: Array) -> tuple[Array, Array]:
        """What these logits are under the recipes that hold nine in ten between them."""
        return logit - NINETY * self.doubt, logit + NINETY * self.doubt

    def measured(self, rows: ClassRows) -> Kind:
        """On the like of this network, or on all where there are too few of them."""
        return self.kinds.get(kind_of(rows), self.kinds[ALL])

    def suspect(self, rows: ClassRows) -> int:
        """The class most like a target."""
        return int(self.alternatives.classes(rows).argmax())


def raw_logit(alternatives: Alternatives, loudest: Linear, rows: ClassRows) -> float:
    """The mean of what the two views say, before calibration."""
    return 0.5 * (alternatives.logit(rows) + float(loudest.raw(numbers(rows)[None])[0]))


def kind_of(rows: ClassRows) -> str:
    """By what its file shows: whether a batch norm feeds the head, for what is known of its inputs hangs on that."""
    return "normed" if rows.normed else "unnormed"
