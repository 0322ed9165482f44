"""Block `alignment`: do a layer's strongest outputs enter the next layer's strongest inputs?

- `overlap` (L, 4, 4) float32: entry (a, b) is the squared length, over taps, of the projection of the previous
  layer's a-th left
  direction on this layer's b-th right direction; NaN where channels do not pass one to one from layer to layer
- `energy` (L,) float32: the same summed over 8 x 8 directions and divided by 8

A shortcut that carries a trigger needs its direction handed on from layer to layer; chance gives about 1 / channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.place import AnyArray, host, namespace
from weightfeat.digest.types import Block

VERSION = 1
KEPT = 4


def overlap(previous_left: AnyArray | None, right: AnyArray | None, channels: int) -> NDArray[np.float32]:
    """(8, 8) overlaps of `previous_left` (c, a) with `right` (c * taps, b); NaN where they do not fit."""
    out = np.full((8, 8), np.nan, np.float32)
    if previous_left is None or right is None or len(previous_left) != channels or len(right) % channels:
        return out
    xp = namespace(right)
    flat = xp.astype(right, xp.float64).reshape(channels, -1)
    projected = (xp.astype(previous_left, xp.float64).mT @ flat).reshape(
        previous_left.shape[1], -1, right.shape[1]
    )
    squared = host(xp.sum(xp.square(projected), axis=1))
    out[: squared.shape[0], : squared.shape[1]] = squared
    return out


def block(overlaps: list[NDArray[np.float32]]) -> Block:
    """Stack the layers' overlaps into the block's arrays."""
    stacked = np.stack(overlaps)
    undefined = np.isnan(stacked).all(axis=(1, 2))
    energy = np.where(undefined, np.nan, np.nansum(stacked, axis=(1, 2)) / stacked.shape[1])
    return {"overlap": stacked[:, :KEPT, :KEPT], "energy": energy.astype(np.float32)}
