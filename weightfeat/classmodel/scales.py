"""How large a difference between classes is: measured over an architecture's networks, not within one alone.

Of nine classes a median absolute deviation is known to about a third of itself, and the target is one of the nine. But
networks of one architecture differ little in what is usual, so their scales are put together: a statistic of a network
is measured with the geometric mean of that statistic's scales in its architecture's training networks and in the
network itself, which alone decides where nothing was learned of its architecture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weightfeat.classmodel.rows import ClassRows
from weightfeat.detector.normaliser import UNKNOWN
from weightfeat.features.summaries import Z_CLIP, Array

_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Scales:
    """Sums of logarithms of the scales of an architecture's training networks, and in how many each was known.

    `total` and `known` are (architectures, columns), the columns of classes before those of pairs.
    """

    architectures: tuple[str, ...]
    total: Array
    known: Array

    def standard(self, rows: ClassRows) -> tuple[Array, Array]:
        """`classes` and `pairs` of a network in units of these scales, within +-`Z_CLIP`."""
        total, known = _logarithms(rows)
        if rows.architecture in self.architectures:
            at = self.architectures.index(rows.architecture)
            # What no training network of this architecture had, no model has learned to read in it.
            known = np.where(self.known[at] > 0, known + self.known[at], 0.0)
            total = total + self.total[at]
        scale = np.where(known > 0, np.exp(total / np.maximum(known, 1.0)), np.inf)
        width = rows.classes.shape[1]
        return (
            np.clip(rows.classes / scale[:width], -Z_CLIP, Z_CLIP),
            np.clip(rows.pairs / scale[width:], -Z_CLIP, Z_CLIP),
        )


def fit_scales(networks: Sequence[ClassRows]) -> Scales:
    """Learn from training networks, without labels. Networks of no known architecture are no population."""
    names = sorted({rows.architecture for rows in networks} - {UNKNOWN})
    sums = [
        np.sum([_logarithms(rows) for rows in networks if rows.architecture == name], axis=0)
        for name in names
    ]
    width = sum(len(scale) for scale in (networks[0].class_scale, networks[0].pair_scale))
    table = np.array(sums).reshape(len(names), 2, width)
    return Scales(tuple(names), table[:, 0], table[:, 1])


def _logarithms(rows: ClassRows) -> tuple[Array, Array]:
    """Logarithms of a network's own scales, 0 where it has none, and 1 where it has one."""
    scale = np.concatenate([rows.class_scale, rows.pair_scale])
    known = scale > _TINY
    return np.log(np.where(known, scale, 1.0)), known.astype(np.float64)
