"""A network in some numbers: how far its loudest class stands out, and in what.

The loudest class is the one whose z of `statistics.TOGETHER` have the largest mean. Of what a network answers the class
that stands out most in each column counts, and the class that the weights suspect.
"""

from __future__ import annotations

import numpy as np

from weightfeat.detector.classes.rows import ClassRows
from weightfeat.detector.general.statistics import ANSWERED, TOGETHER, together, unusual_places
from weightfeat.features.places import PLACE_COLUMNS
from weightfeat.features.summaries import Array

__all__ = ["ANSWER_NUMBERS", "NUMBERS", "answer_numbers", "numbers"]

NUMBERS = (
    *("largest", "lead", "least", "log_classes", "spread"),
    *(f"loudest.{name}" for name in TOGETHER),
    *(f"largest.{name}" for name in PLACE_COLUMNS),
)
ANSWER_NUMBERS = tuple(f"{which}.{name}" for which in ("largest", "lead", "suspect") for name in ANSWERED)


def numbers(rows: ClassRows) -> Array:
    """(len(NUMBERS),) of a network with two classes or more: the largest mean z over classes, its lead over the next,
    the least; log C; mean |z|; the loudest class's own z; the largest of each column of places."""
    z = together(rows)
    means = z.mean(axis=1)
    ordered = np.sort(means)[::-1]
    alone = [ordered[0], ordered[0] - ordered[1], ordered[-1], np.log(rows.count), np.abs(z).mean()]
    return np.array([*alone, *z[int(means.argmax())], *unusual_places(rows).max(axis=0)])


def answer_numbers(z: Array | None, suspect: int) -> Array:
    """(len(ANSWER_NUMBERS),) of a network with two classes or more: the largest z of each column, its lead over the
    next, the suspect's own. NaN where it was not asked: such a network counts as an asked one in the middle."""
    if z is None:
        return np.full(len(ANSWER_NUMBERS), np.nan)
    ordered = np.sort(z, axis=0)
    return np.concatenate([ordered[-1], ordered[-1] - ordered[-2], z[suspect]])
