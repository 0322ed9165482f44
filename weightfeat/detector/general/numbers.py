"""A network in nineteen numbers: how far its loudest class stands out, and in what.

The loudest class is the one whose z of `statistics.TOGETHER` have the largest mean.
"""

from __future__ import annotations

import numpy as np

from weightfeat.detector.classes.rows import ClassRows
from weightfeat.detector.general.statistics import TOGETHER, together, unusual_places
from weightfeat.features.places import PLACE_COLUMNS
from weightfeat.features.summaries import Array

__all__ = ["NUMBERS", "numbers"]

NUMBERS = (
    *("largest", "lead", "least", "log_classes", "spread"),
    *(f"loudest.{name}" for name in TOGETHER),
    *(f"largest.{name}" for name in PLACE_COLUMNS),
)


def numbers(rows: ClassRows) -> Array:
    """(len(NUMBERS),) of a network with two classes or more: the largest mean z over classes, its lead over the next,
    the least; log C; mean |z|; the loudest class's own z; the largest of each column of places."""
    z = together(rows)
    means = z.mean(axis=1)
    ordered = np.sort(means)[::-1]
    alone = [ordered[0], ordered[0] - ordered[1], ordered[-1], np.log(rows.count), np.abs(z).mean()]
    return np.array([*alone, *z[int(means.argmax())], *unusual_places(rows).max(axis=0)])
