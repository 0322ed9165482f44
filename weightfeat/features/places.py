"""Every class of a network by what speaks for it at single places of the image (block `places` of the digest).

A class is measured at every place by the other classes there; what stands for it is the place where it is furthest out.
"""

from __future__ import annotations

import numpy as np

from weightfeat.digest.types import Digest
from weightfeat.features.summaries import Array, standardised

__all__ = ["PLACE_COLUMNS", "READ", "place_table", "within"]

PLACE_COLUMNS = ("place.energy", "place.positive", "place.share", "place.total")
READ = frozenset({"places"})
_TINY = 1e-12


def place_table(digest: Digest) -> Array:
    """(C, len(PLACE_COLUMNS)): the largest z over places of the energy, of what is positive, of the place's share of
    the class's energy, and of the total less its median over places. Zeros where the network keeps no places apart."""
    block = digest.blocks.get("places")
    if block is None or not block["energy"].size:
        return np.zeros((digest.num_classes, len(PLACE_COLUMNS)))
    energy, positive, total = (block[name].astype(np.float64) for name in ("energy", "positive", "total"))
    share = energy / np.maximum(energy.sum(axis=1, keepdims=True), _TINY)
    summed = within(total)
    own = (within(energy), within(positive), within(share))
    z = (*own, summed - np.median(summed, axis=1)[:, None])
    return np.stack([each.max(axis=1) for each in z], axis=1)


def within(values: Array) -> Array:
    """z of every class among the classes of its own network, (C, columns): (value - median) / (1.4826 MAD + SD / 4); 0
    where all classes agree."""
    return standardised(values, deviations=0.25)
