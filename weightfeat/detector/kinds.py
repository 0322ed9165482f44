"""What was measured on networks of one kind that nothing had been learned of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from weightfeat.features.summaries import Array

__all__ = ["ALL", "Against", "Kind", "measured_kind"]

ALL = "all"
"""The kind that every network is of."""


@dataclass(frozen=True, eq=False)
class Kind:
    """What out-of-fold judgements of networks of one kind were.

    Attributes
    ----------
    clean : calibrated logits of the clean ones, ascending.
    roc_auc : how well trojaned ones were told from them; 0.5 where that is not known.
    trojaned : those of the trojaned ones, ascending: no verdict is made from them, a reader may want to see them.
    """

    clean: Array
    roc_auc: float
    trojaned: Array = field(default_factory=lambda: np.zeros(0))

    def clean_share(self, logit: float) -> float:
        """Share of clean networks at least as suspicious, in (0, 1].

        Conformal: (1 + those at or above) / (1 + all), so that of clean networks like these at most a share a falls to
        a or below (Vovk, Gammerman, Shafer 2005, proposition 2.8).
        """
        above = len(self.clean) - int(np.searchsorted(self.clean, logit, side="left"))
        return (1 + above) / (1 + len(self.clean))


@dataclass(frozen=True, eq=False)
class Against:
    """The clean networks that one is measured against, its log-odds beside theirs, whether they are of other recipes,
    and how much such log-odds shift from recipe to recipe."""

    kind: Kind
    logit: float
    foreign: bool
    doubt: float


def measured_kind(logit: Array, y: NDArray[np.int64]) -> Kind:
    """From out-of-fold logits, (n,), and labels."""
    from sklearn.metrics import roc_auc_score

    both = len(set(y.tolist())) == 2
    power = float(roc_auc_score(y, logit)) if both else 0.5
    return Kind(np.sort(logit[y == 0]), power, np.sort(logit[y == 1]))
