"""Block `paths`: every class's row of the classification layer multiplied with the layers that feed it.

T (C, n) holds, for every feed, H F summed over taps, F the feeding layer's rows times BatchNorm's factor: how each
input of the last layers but one speaks for each class, activations apart. Feeds that read the same layer's outputs are
added, others stand side by side, so it exists where one layer feeds the head and where many do.

- `grid` (C, 33) float32: quantiles of each class's row at `QUANTILES`, by linear interpolation
- `sums` (C, 6) float64, one column a name of `SUMS`: the row's mean and norm, its norm less the mean over classes, the
  share of its positive entries, their sum and the sum of their squares
- `gram` (C, C) float32: T T^T
- `inputs` (1,) int32: n; 0 where no plain layer is known to feed the head, and the rest is NaN
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.latent_law import head_matrix
from weightfeat.digest.place import Place, host
from weightfeat.digest.tensors import at_place
from weightfeat.digest.types import Block
from weightfeat.network.types import Feed, Network

VERSION = 1
QUANTILES = np.linspace(0.0, 1.0, 33)
SUMS = ("mean", "norm", "centred_norm", "positive", "positive_sum", "positive_squares")

Array = NDArray[np.float64]


def paths(network: Network, place: Place) -> Block:
    """The whole block."""
    rows = _rows(network, place)
    classes, inputs = rows.shape
    if not inputs:
        rows = np.full((classes, 1), np.nan)
    positive = np.maximum(rows, 0)
    columns = [
        rows.mean(axis=1),
        np.linalg.norm(rows, axis=1),
        np.linalg.norm(rows - rows.mean(axis=0), axis=1),
        np.where(np.isnan(rows), np.nan, rows > 0).mean(axis=1),
        positive.sum(axis=1),
        (positive**2).sum(axis=1),
    ]
    return {
        "grid": np.quantile(rows, QUANTILES, axis=1).T.astype(np.float32),
        "sums": np.stack(columns, axis=1),
        "gram": (rows @ rows.T).astype(np.float32),
        "inputs": np.array([inputs], np.int32),
    }


def _rows(network: Network, place: Place) -> Array:
    """T (C, n)."""
    matrix = head_matrix(network)
    parts: dict[tuple[str, int], Array] = {}
    for feed in network.head_feeds:
        layer = network.layers[feed.layer]
        if layer.groups != 1 or len(layer.weight) != feed.stop - feed.start:
            continue
        part = matrix[:, feed.start : feed.stop] @ _folded(network, feed, place)
        source = ("layer", feed.layer) if layer.previous is None else ("previous", layer.previous)
        parts[source] = parts[source] + part if source in parts else part
    return np.concatenate(list(parts.values()), axis=1) if parts else np.zeros((len(matrix), 0))


def _folded(network: Network, feed: Feed, place: Place) -> Array:
    """The feeding layer's weight summed over taps, (out, in), times the factor of the norm between it and the head."""
    tensors, before = at_place(network.layers[feed.layer], place), network.layers[network.head].norm_before
    rows = np.asarray(host(tensors.summed()))
    factor = None if before is None or tensors.fold() is not None else before.factor
    if factor is None or len(factor) < feed.stop:
        return rows
    return np.asarray(rows * factor[feed.start : feed.stop, None])
