"""Exact order statistics of more values than should be copied and sorted.

A float32's upper sixteen bits (sign, exponent, seven bits of the fraction) put it into one of 65,536 bins that are
ordered as the values are. One pass counts the bins, a second keeps only the bins that hold a rank asked for: a few
hundredths of the values, which are then sorted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_BINS = 1 << 16
_CHUNK = 1 << 18  # values at a time, which fit a processor's cache
# Bins from the most negative to the largest: with the sign bit set, larger bits mean smaller values.
_ASCENDING = np.concatenate([np.arange(_BINS - 1, _BINS // 2 - 1, -1), np.arange(_BINS // 2)])


def order_statistics(values: NDArray[np.float32], ranks: NDArray[np.int64]) -> NDArray[np.float32]:
    """What `np.sort(values)[ranks]` would give, for values (n,) without NaN and ranks in 0..n-1."""
    counts = sum(np.bincount(bins, minlength=_BINS) for _, bins in _binned(values))
    ordered = np.asarray(counts, np.int64)[_ASCENDING]
    after = np.cumsum(ordered)
    holding = np.searchsorted(after, ranks, side="right")
    wanted = np.zeros(_BINS, np.bool_)
    wanted[holding] = True
    left_out = np.cumsum(np.where(wanted, 0, ordered))
    keep = np.empty(_BINS, np.bool_)
    keep[_ASCENDING] = wanted
    kept = np.sort(np.concatenate([chunk[keep[bins]] for chunk, bins in _binned(values)]))
    return np.asarray(kept[ranks - left_out[holding]], np.float32)


def count_below(values: NDArray[np.float32], bounds: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many values lie below each bound: what `np.searchsorted(np.sort(values), bounds)` would give."""
    below = [[np.count_nonzero(chunk < bound) for bound in bounds] for chunk in _chunks(values)]
    return np.asarray(np.sum(below, axis=0), np.int64)


def _chunks(values: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _binned(values: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp]]]:
    """Chunks with the bin of each of their values."""
    for chunk in _chunks(values):
        yield chunk, (chunk.view(np.uint32) >> 16).astype(np.intp)
