"""What the general model reads of a network: every class measured by the other classes of the same network alone.

z = (value - median) / (1.4826 MAD + SD / 4), within +-6, for every statistic of a class, and its size |z| beside it:
what a trojan moves up under one recipe it moves down under another, and is unusual either way.
"""

from __future__ import annotations

import numpy as np

from weightfeat.detector.classes.rows import CLASS_COLUMNS, ClassRows
from weightfeat.features.places import PLACE_COLUMNS, within
from weightfeat.features.probes import INVERTED_COLUMNS, PROBE_COLUMNS
from weightfeat.features.summaries import Array

__all__ = [
    "ANSWERED",
    "COLUMNS",
    "EVERYWHERE",
    "TOGETHER",
    "WAS_ASKED",
    "answered",
    "clipped",
    "loudness",
    "table",
    "together",
    "unusual_places",
]

TOGETHER = (
    "mean",
    "positive_sum",
    "evidence",
    "share.half_normal",
    "share.law",
    "share.through",
    "logit.half_normal",
    "logit.law",
    "logit.through",
    "margin.through",
)
"""Statistics of a class that rose at a trojan's target in every recipe looked at."""
ANSWERED = (*PROBE_COLUMNS, "probe.beyond")
"""Of what a network answers: each column, and by how much all that are unusual are so together."""
EVERYWHERE = (*TOGETHER, *PLACE_COLUMNS, *ANSWERED)
"""Those that a trojan must raise whatever the recipe, as far as anyone knows."""
WAS_ASKED = "asked"
"""1 for every class of a network that was asked: of the answers of another nothing is known, and each counts as 0."""
_OWN = [name for name in CLASS_COLUMNS if name != "log_classes"]
COLUMNS = (*_OWN, *PLACE_COLUMNS, *ANSWERED, WAS_ASKED)
_AT = [CLASS_COLUMNS.index(name) for name in _OWN]
_TOGETHER = [CLASS_COLUMNS.index(name) for name in TOGETHER]
_INVERTED = [PROBE_COLUMNS.index(name) for name in INVERTED_COLUMNS]
_CLIP, _CLIP_PLACE = 6.0, 8.0
_USUAL = 2.5  # |z| up to which an answer is nothing special
_FACTOR = 1 / 3
"""A class that is had for a factor e^(1/3) less than the median class counts as 1."""


def clipped(values: Array) -> Array:
    """z of every class among the classes of its own network, (C, columns), within +-6."""
    return np.clip(within(values), -_CLIP, _CLIP) if len(values) else values


def table(rows: ClassRows, answers: Array | None) -> Array:
    """(C, 2 len(COLUMNS)): z of every class, then |z|. `answers` are those of `answered`."""
    told = np.zeros((rows.count, len(ANSWERED) + 1))
    if answers is not None:
        told = np.column_stack([answers, np.ones(rows.count)])
    z = np.hstack([clipped(rows.classes[:, _AT]), unusual_places(rows), told])
    return np.hstack([z, np.abs(z)])


def unusual_places(rows: ClassRows) -> Array:
    """(C, len(PLACE_COLUMNS)). What is told of places is a z already, the largest of many: it counts from its median
    over classes."""
    return np.clip(rows.places - np.median(rows.places, axis=0), -_CLIP_PLACE, _CLIP_PLACE)


def answered(rows: ClassRows) -> Array | None:
    """(C, len(ANSWERED)): z of every class in what the network answers; None where it was not asked.

    A trigger has one look, so most columns say nothing of it: the last one adds up what goes beyond the usual.
    How little it takes to make all images a class is a logarithm, which has the same unit in every network: it counts
    from its median, in steps of `_FACTOR`, for the spread of a few classes is known too badly to measure by.
    """
    if rows.answers is None:
        return None
    z, less = clipped(rows.answers), rows.answers[:, _INVERTED]
    z[:, _INVERTED] = np.clip((less - np.median(less, axis=0)) / _FACTOR, -_CLIP, _CLIP)
    return np.column_stack([z, np.maximum(z - _USUAL, 0).sum(axis=1) / 2])


def together(rows: ClassRows) -> Array:
    """(C, len(TOGETHER)): z of every class."""
    return clipped(rows.classes[:, _TOGETHER])


def loudness(rows: ClassRows) -> Array:
    """Mean z of `TOGETHER` of every class, (C,): what needs no training network at all."""
    return np.asarray(together(rows).mean(axis=1))
