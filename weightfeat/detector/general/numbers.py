"""The numbers that the general model reads, from one network's rows of classes.

A class is measured by the other classes of its own network: z = (value - median) / (1.4826 MAD + SD / 4), within +-6.
What ten statistics say together of a class is their mean z; the class of which it is largest is the loudest.
"""

from __future__ import annotations

import numpy as np

from weightfeat.detector.classes.models import FEWEST_CLASSES
from weightfeat.detector.classes.rows import CLASS_COLUMNS, ClassRows
from weightfeat.features.summaries import Array

__all__ = ["NAMES", "TOGETHER", "loudest", "loudness", "numbers", "standing", "within"]

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
"""Statistics of a class that rise at a trojan's target, whatever the recipe."""
NAMES = ("largest", "lead", "least", "log_classes", "spread", *(f"loudest.{name}" for name in TOGETHER))
_AT = [CLASS_COLUMNS.index(name) for name in TOGETHER]
_MAD, _SD = 1.4826, 0.25  # a median absolute deviation alone is 0 where most classes agree
_CLIP = 6.0
_TINY = 1e-12


def within(values: Array) -> Array:
    """z of every class among the classes of its own network, (C, columns); 0 where all classes agree."""
    if not len(values):
        return values
    away = values - np.median(values, axis=0)
    scale = _MAD * np.median(np.abs(away), axis=0) + _SD * values.std(axis=0)
    known = scale > _TINY
    return np.clip(np.where(known, away / np.where(known, scale, 1.0), 0.0), -_CLIP, _CLIP)


def standing(rows: ClassRows) -> Array:
    """z of `TOGETHER` of every class among its network's, (C, len(TOGETHER))."""
    return within(rows.classes[:, _AT])


def loudness(rows: ClassRows) -> Array:
    """Mean z of `TOGETHER` of every class, (C,)."""
    return np.asarray(standing(rows).mean(axis=1))


def loudest(rows: ClassRows) -> int:
    """The class that stands out most."""
    return int(loudness(rows).argmax())


def numbers(rows: ClassRows) -> Array:
    """`NAMES` of one network, (len(NAMES),); NaN with fewer than three classes, which nothing can stand out of."""
    if rows.count < FEWEST_CLASSES:
        return np.full(len(NAMES), np.nan)
    z = standing(rows)
    together = z.mean(axis=1)
    ordered = np.sort(together)[::-1]
    alone = [ordered[0], ordered[0] - ordered[1], ordered[-1], np.log(rows.count), np.abs(z).mean()]
    return np.array([*alone, *z[int(together.argmax())]])
