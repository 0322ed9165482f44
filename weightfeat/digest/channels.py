"""Blocks `channels`, `norms` and `moments`: what each output channel does, without saying which channel it is.

`channels`, one row a layer:

- `grid` (L, 4, 13) float32: quantiles over output channels of `STATISTICS`
- `outliers` (L, 6, 5) float32: the channels of largest Lipschitz constant (row norm, for layers without
  BatchNorm), each with all of
  its `STATISTICS` and beta / |gamma|, so that what one channel does stays together
- `columns` (L, 13) float32: quantiles over input channels of the norm of what reads them

`norms`, one row a norm layer in the network's order: `grid` (N, 3, 13) float32, quantiles of gamma, beta and
beta / |gamma|;
`width` (N,) int32.

`moments`: `grid` (N, 2, 13), running means and standard deviations; `batches` (N,) num_batches_tracked. Both
follow the
training data and its length, so features from them are off by default.

Lipschitz constant of a channel: sigma_max(w_i) |gamma_i| / sqrt(var_i + eps), w_i of shape (in, taps)
(Zheng et al., ECCV 2022, equation 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.linalg import spectral_norms
from weightfeat.digest.place import AnyArray, host, namespace
from weightfeat.digest.tensors import LayerTensors
from weightfeat.digest.types import Block
from weightfeat.network.types import Norm

VERSION = 1
STATISTICS = ("row_norm", "row_mean", "row_peak", "lipschitz")
QUANTILES = np.array([0, 0.01, 0.05, 0.12, 0.25, 0.4, 0.5, 0.6, 0.75, 0.88, 0.95, 0.99, 1.0])
OUTLIERS = 6
_TINY = 1e-30
_BLOCK = 1 << 19  # weights at a time


@dataclass(frozen=True, eq=False)
class Channels:
    """One layer's rows of the block, and `statistics` (out, 4), float64: each output channel's L2 norm, mean weight,
    max |w| / norm and Lipschitz constant."""

    statistics: NDArray[np.float64]
    rows: Block


def channels(tensors: LayerTensors) -> Channels:
    """Measure one layer's channels."""
    statistics, column_norms = _by_channel(tensors)
    rows = {
        "grid": np.quantile(statistics, QUANTILES, axis=0).T.astype(np.float32),
        "outliers": _outliers(statistics, tensors.layer.norm_after),
        "columns": np.quantile(column_norms, QUANTILES).astype(np.float32),
    }
    return Channels(statistics, rows)


def block(layers: Sequence[Channels]) -> Block:
    """Stack the layers' rows into block `channels`."""
    return {name: np.stack([layer.rows[name] for layer in layers]) for name in layers[0].rows}


def _by_channel(tensors: LayerTensors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Output channels' statistics (out, 4) and input channels' norms (in/groups,).

    Block by block, in float32: a block of squares fits a processor's cache, and each sum is short.
    """
    weight, xp = tensors.weight, namespace(tensors.weight)
    rows: list[AnyArray] = []
    columns = 0.0
    height = max(1, _BLOCK // max(1, weight.shape[1] * weight.shape[2]))
    for start in range(0, len(weight), height):
        part = weight[start : start + height]
        flat = part.reshape(len(part), -1)
        squares = xp.square(flat)
        norm = xp.sqrt(xp.astype(xp.sum(squares, axis=1), xp.float64))
        peak = xp.astype(xp.maximum(xp.max(flat, axis=1), -xp.min(flat, axis=1)), xp.float64)
        mean = xp.astype(xp.mean(flat, axis=1), xp.float64)
        rows.append(xp.stack([norm, mean, peak / xp.clip(norm, _TINY, None), spectral_norms(part)], axis=1))
        columns = columns + xp.sum(squares, axis=0, dtype=xp.float64)
    statistics, fold = host(xp.concat(rows)), tensors.fold()
    if fold is not None:
        statistics[:, 3] *= np.abs(host(fold))
    return statistics, np.sqrt(host(columns).reshape(weight.shape[1:]).sum(axis=1))


def norms(every: Sequence[Norm]) -> Block:
    """Block `norms` of all norm layers, paired with a convolution or not."""
    width = [0 if norm.gamma is None else len(norm.gamma) for norm in every]
    return {
        "grid": _grid([(norm.gamma, norm.beta, threshold(norm)) for norm in every], 3),
        "width": np.array(width, np.int32),
    }


def moments(every: Sequence[Norm]) -> Block:
    """Block `moments` of the same."""
    batches = [np.nan if norm.batches is None else float(norm.batches) for norm in every]
    return {
        "grid": _grid([(norm.mean, _deviation(norm)) for norm in every], 2),
        "batches": np.array(batches, np.float64),
    }


def threshold(norm: Norm) -> NDArray[np.float64]:
    """beta / |gamma| of each channel: how far, in standard deviations, the mean lies above the ReLU's kink.
    (channels,)"""
    if norm.gamma is None or norm.beta is None:
        return np.full(1, np.nan)
    return norm.beta.astype(np.float64) / np.maximum(np.abs(norm.gamma.astype(np.float64)), 1e-12)


def _outliers(statistics: NDArray[np.float64], norm: Norm | None) -> NDArray[np.float32]:
    openness = np.full(len(statistics), np.nan) if norm is None else threshold(norm)
    if len(openness) != len(statistics):
        openness = np.full(len(statistics), np.nan)
    joint = np.concatenate([statistics, openness[:, None]], axis=1)
    top = joint[np.argsort(-statistics[:, 3], kind="stable")[:OUTLIERS]]
    padding = ((0, OUTLIERS - len(top)), (0, 0))
    return np.pad(top, padding, constant_values=np.nan).astype(np.float32)


def _deviation(norm: Norm) -> NDArray[np.floating] | None:
    return None if norm.var is None else np.sqrt(np.maximum(norm.var, 0) + norm.eps)


def _grid(rows: Sequence[Sequence[NDArray[np.floating] | None]], count: int) -> NDArray[np.float32]:
    """Quantiles of each row's `count` vectors, (rows, count, 13), NaN where one is missing: all vectors of a length
    and precision at once, for there are hundreds of them."""
    out = np.full((len(rows) * count, len(QUANTILES)), np.nan, np.float32)
    alike: dict[tuple[int, np.dtype[Any]], list[int]] = {}
    vectors = [vector for row in rows for vector in row]
    for place, vector in enumerate(vectors):
        if vector is not None:
            alike.setdefault((len(vector), vector.dtype), []).append(place)
    for places in alike.values():
        out[places] = np.quantile([vectors[place] for place in places], QUANTILES, axis=1).T
    return out.reshape(len(rows), count, len(QUANTILES))
