"""Whether the classes of a network are tied in a circle, each to the next: what an all-to-all trojan leaves.

Such a trojan has no target of its own: a marked image of class y is taken for y + 1, and the last class for the first.
What speaks for y then speaks for y + 1 as well, so that neighbours by number resemble each other more than other pairs
do. Numbers are no more than names, so in a clean network neighbours are as alike as any two classes.
"""

from __future__ import annotations

import numpy as np

from weightfeat.digest.latents import KINDS
from weightfeat.digest.types import Digest
from weightfeat.features.classes import centred_cosines
from weightfeat.features.summaries import Array

__all__ = ["CYCLE_COLUMNS", "READ", "around", "cycle_numbers"]

CYCLE_COLUMNS = ("cycle.place", "cycle.composed", "cycle.runner_up")
READ = frozenset({"head", "latents", "places"})
_TINY = 1e-12


def cycle_numbers(digest: Digest) -> Array:
    """(len(CYCLE_COLUMNS),), `around` of three ties between classes: the correlation of what speaks for them from place
    to place; the cosine of their rows through the feeding layer's usually active channels; how often one comes second
    when the other wins random latents. 0 where there is nothing to see."""
    total = (
        digest.blocks["places"]["total"] if "places" in digest.blocks else np.zeros((digest.num_classes, 0))
    )
    composed = centred_cosines(digest.blocks["head"]["composed_active"].astype(np.float64))
    second = digest.blocks["latents"]["runner_up"][KINDS.index("through")].astype(np.float64)
    ties = (_correlations(total.astype(np.float64)), composed, _excess(second))
    return np.array([around(tie) for tie in ties])


def around(ties: Array) -> float:
    """Mean tie of the classes that follow each other, less that of all pairs, in standard errors of a mean of as many
    pairs drawn without replacement.

    `ties` is (C, C), whose diagonal plays no part. 0 with fewer than four classes, where all are neighbours, and where
    all ties are alike.

    >>> ring = np.eye(6) + np.roll(np.eye(6), 1, axis=1)
    >>> around(ring) > 3, around(np.ones((6, 6)))
    (True, 0.0)
    """
    count = len(ties)
    if count < 4:
        return 0.0
    first, second = np.triu_indices(count, 1)
    pairs = (ties[first, second] + ties[second, first]) / 2
    near = (second - first == 1) | (second - first == count - 1)
    error = pairs.std(ddof=1) * np.sqrt((1 - near.mean()) / near.sum())
    return float((pairs[near].mean() - pairs.mean()) / error) if error > _TINY else 0.0


def _correlations(rows: Array) -> Array:
    """Between the rows of (C, P), each column less its mean; all alike where there are no columns."""
    if not rows.size:
        return np.zeros((len(rows), len(rows)))
    away = rows - rows.mean(axis=0)
    away -= away.mean(axis=1, keepdims=True)
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), _TINY)
    return np.asarray(away @ away.T)


def _excess(counts: Array) -> Array:
    """Logarithms of counts less the means of their row and of their column."""
    logs = np.log1p(counts)
    return np.asarray(logs - logs.mean(axis=0) - logs.mean(axis=1)[:, None])
