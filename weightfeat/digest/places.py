"""Block `places`: what speaks for every class at every place of the feature map that the linear layers take.

A network that flattens its last feature map, or its image, keeps places apart: its first linear layer has one input a
channel and place. A trigger that is always stamped at one place leaves what speaks for its target there, where little
speaks for any class otherwise. Let L be the product of the linear layers, rectifiers left out, norms folded in, less
its mean over classes: L[c, d, p] is how much channel d at place p speaks for class c rather than for the others.

- `energy` (C, P) float16: root of the sum over channels of L^2
- `positive` (C, P) float16: sum over channels of what is positive in L
- `total` (C, P) float16: sum over channels of L

all in units of the mean energy. Places go row by row; a map of more than 16 places a side is pooled to at most 16.
P is 0 where the network averages over places before its linear layers, or its map is no square.
"""

from __future__ import annotations

from math import isqrt

import numpy as np

from weightfeat.digest.types import Array, Block
from weightfeat.network.types import Network

VERSION = 1
SIDE = 16
LARGEST = 1 << 22
"""Entries of L; where there are more (a thousand classes over a VGG's map), there is no block."""
_COLOURS = 3
_CONVOLUTIONS = ("conv", "grouped", "depthwise")


def places(network: Network) -> Block:
    """The whole block."""
    chain = _linear(network)
    grid = _grid(network, chain[0]) if chain else None
    if grid is None or network.num_classes * grid[0] * grid[1] ** 2 > LARGEST:
        none = np.zeros((network.num_classes, 0), np.float16)
        return {"energy": none, "positive": none, "total": none}
    channels, side = grid
    spoken = _product(network, chain)
    spoken -= spoken.mean(axis=0)
    if network.channels_last:
        spoken = np.moveaxis(spoken.reshape(-1, side, side, channels), 3, 1)
    spoken = spoken.reshape(len(spoken), channels, side, side)
    energy = np.sqrt(_pooled(np.square(spoken).sum(axis=1)))
    unit = float(energy.mean()) or 1.0
    found = {
        "energy": energy,
        "positive": _pooled(np.maximum(spoken, 0).sum(axis=1)),
        "total": _pooled(spoken.sum(axis=1)),
    }
    return {
        name: (values / unit).reshape(len(values), -1).astype(np.float16) for name, values in found.items()
    }


def _linear(network: Network) -> list[int]:
    """The linear layers from the one that takes the map to the head, each fed by the one before."""
    chain = [network.head]
    if network.layers[network.head].kind != "linear":
        return []
    while (previous := network.layers[chain[-1]].previous) is not None:
        if network.layers[previous].kind != "linear" or previous in chain:
            break
        chain.append(previous)
    return chain[::-1]


def _grid(network: Network, first: int) -> tuple[int, int] | None:
    """Channels and side of the map that a layer takes; None where it takes no square one of several places."""
    width = network.layers[first].weight.shape[1]
    convolutions = [at for at, layer in enumerate(network.layers) if layer.kind in _CONVOLUTIONS]
    before = [at for at in convolutions if at < first] or convolutions
    if before:
        channels = len(network.layers[before[-1]].weight)
    else:
        channels = _COLOURS if isqrt(width // _COLOURS) ** 2 * _COLOURS == width else 1
    side = isqrt(width // channels)
    return (channels, side) if side > 1 and channels * side**2 == width else None


def _product(network: Network, chain: list[int]) -> Array:
    """L before its mean is taken off, (C, inputs of the first)."""
    product = network.layers[chain[-1]].weight.astype(np.float64)
    for index in chain[-2::-1]:
        layer = network.layers[index]
        factor = None if layer.norm_after is None else layer.norm_after.factor
        if factor is not None and len(factor) == product.shape[1]:
            product = product * factor
        # In the weight's own precision: a copy of a VGG's in double would be a network's size.
        product = (product.astype(np.float32) @ layer.weight).astype(np.float64)
    return product


def _pooled(values: Array) -> Array:
    """(C, side, side) with blocks of neighbours summed until at most `SIDE` are left a side."""
    side = values.shape[1]
    block = -(-side // SIDE)
    padding = -side % block
    padded = np.pad(values, ((0, 0), (0, padding), (0, padding)))
    rows = (side + padding) // block
    return np.asarray(padded.reshape(len(values), rows, block, rows, block).sum(axis=(2, 4)))
