"""Every class of a network by what the network answers under the looks of a bank (block `probes` of the digest)."""

from __future__ import annotations

import numpy as np

from weightfeat.digest.types import Digest
from weightfeat.features.places import within
from weightfeat.features.summaries import Array

__all__ = ["INVERTED_COLUMNS", "PROBE_COLUMNS", "READ", "next_class", "probe_table"]

READ = frozenset({"probes"})
_FAMILIES = ("patch", "colour", "blend", "wave")
"""In the order of `probes.looks.FAMILIES`: the block names them by number."""
_LEAST = 1e-3  # of a share or of nats; also what a network counts as that was too dear for the search
BANK_COLUMNS = (
    *(f"probe.{family}.{kind}" for family in _FAMILIES for kind in ("logit", "growth")),
    "probe.place.logit",
    "probe.place.growth",
    *(f"probe.universal.{reach}.{kind}" for reach in ("little", "more") for kind in ("logit", "growth")),
)
INVERTED_COLUMNS = ("probe.inverted.size", "probe.inverted.both")
PROBE_COLUMNS = (*BANK_COLUMNS, *INVERTED_COLUMNS)


def probe_table(digest: Digest) -> Array | None:
    """(C, len(PROBE_COLUMNS)); None where the network was not asked.

    Of every family of looks the largest growth of a class's logit, and of its softmax; and for patches the largest
    growth at one place beyond the median place: a trigger works where it was stamped, a class that likes white likes it
    anywhere. Then what moving all images alike does for a class. Last, how little it takes to make all images that
    class: minus the logarithms of the share of the image that changes, and of that and the cross-entropy left together.
    """
    block = digest.blocks.get("probes")
    if block is None:
        return None
    family, columns = block["family"], []
    both = [block[name].astype(np.float64) for name in ("logit", "growth")]
    for number in range(len(_FAMILIES)):
        columns += [values[family == number].max(axis=0) for values in both]
    at = block["place"][family == 0]
    places = int(at.max()) + 1
    for values in both:
        grid = values[family == 0].reshape(-1, places, digest.num_classes)
        columns.append((grid - np.median(grid, axis=1, keepdims=True)).max(axis=(0, 1)))
    least = np.maximum(block["inverted"][1:].astype(np.float64), _LEAST)
    return np.column_stack([*columns, *block["universal"].astype(np.float64), *-np.log(least)])


def next_class(digest: Digest) -> float:
    """How much further images are moved to the class after their own than to any class further on, by the look that
    moves them there most: z among those classes. 0 where the network was not asked, or has fewer than four classes."""
    block = digest.blocks.get("probes")
    if block is None or digest.num_classes < 4:
        return 0.0
    moved = block["shift"].astype(np.float64)[1:]
    return float(within(moved[:, None])[0, 0])
