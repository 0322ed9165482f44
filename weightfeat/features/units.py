"""Blocks `channels`: outlying channels; `norms`, `moments`, `training_length`: what BatchNorm learned and saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightfeat.digest.channels import QUANTILES
from weightfeat.digest.types import Digest
from weightfeat.features.registry import feature_block
from weightfeat.features.summaries import Array, pooled, pooled_names

_LOW, _MIDDLE, _HIGH = (int(np.argmin(np.abs(QUANTILES - q))) for q in (0.12, 0.5, 0.88))
_LAYER = ("lipschitz", "lipschitz_gap", "row_norm", "row_peak", "read", "open_outlier")
_NORM = ("gamma_high", "gamma_low", "beta_high", "beta_low", "open_high", "open_low")


@feature_block("channels", pooled_names(_LAYER), relative=False, reads=("channels",))
def channels(digest: Digest) -> Sequence[float]:
    """How far the extreme channels of each layer lie from its middle, in units of its own spread.

    - lipschitz, row_norm, row_peak, read: (max - median) / (q88 - q12) of the channel-Lipschitz constant
      (Zheng et al., ECCV 2022), output-row norm, peak share, input-column norm
    - lipschitz_gap: first less second channel over the same spread
    - open_outlier: beta / |gamma| of the channel of largest Lipschitz constant
    """
    block = digest.blocks["channels"]
    grid = block["grid"].astype(np.float64)
    outliers = block["outliers"].astype(np.float64)
    lipschitz = grid[:, 3]
    columns = (
        high(lipschitz),
        (outliers[:, 0, 3] - outliers[:, 1, 3]) / _spread(lipschitz),
        high(grid[:, 0]),
        high(grid[:, 2]),
        high(block["columns"].astype(np.float64)),
        np.clip(outliers[:, 0, 4], -10, 10),
    )
    layers = digest.blocks["layers"]
    body = layers["role"] != "head"
    depth = layers["depth"].astype(np.float64)[body]
    return [value for column in columns for value in pooled(column[body], depth)]


@feature_block("norms", pooled_names(_NORM), relative=False, reads=("norms",))
def norms(digest: Digest) -> Sequence[float]:
    """Tails of every BatchNorm's gamma, beta and open (beta / |gamma|): high and low are the largest and the smallest
    value's distances from the median, over the spread (q88 - q12)."""
    grid = digest.blocks["norms"]["grid"].astype(np.float64)
    grid[:, 2] = np.clip(grid[:, 2], -20, 20)
    columns = [side(grid[:, row]) for row in range(3) for side in (high, _low)]
    return [value for column in columns for value in pooled(column, _positions(len(grid)))]


@feature_block(
    "moments",
    pooled_names(["mean_high", "mean_low", "log_std", "std_high"]),
    relative=False,
    reads=("moments",),
)
def moments(digest: Digest) -> Sequence[float]:
    """Tails of BatchNorm's running means and standard deviations. They follow the training data: an ablation only."""
    grid = digest.blocks["moments"]["grid"].astype(np.float64)
    depth = _positions(len(grid))
    middle = np.maximum(grid[:, 1, _MIDDLE], 1e-12)
    columns = (high(grid[:, 0]), _low(grid[:, 0]), np.log(middle), high(grid[:, 1]))
    return [value for column in columns for value in pooled(column, depth)]


@feature_block("training_length", ["log_batches"], relative=False, reads=("moments",))
def training_length(digest: Digest) -> Sequence[float]:
    """log(1 + num_batches_tracked): says how long training took, not what it taught. An ablation only."""
    batches = digest.blocks["moments"]["batches"]
    known = batches[np.isfinite(batches)]
    return [float(np.log1p(known.max()))] if len(known) else [float("nan")]


def _positions(count: int) -> Array:
    return (np.arange(count) + 0.5) / max(count, 1)


def _spread(grid: Array) -> Array:
    middle = np.abs(grid[:, _MIDDLE])
    return np.asarray(np.maximum(grid[:, _HIGH] - grid[:, _LOW], 1e-3 * middle + 1e-12))


def high(grid: Array) -> Array:
    """How far the largest value of each row of quantiles lies above its median, in the row's spread, within +-100."""
    return np.asarray(np.clip((grid[:, -1] - grid[:, _MIDDLE]) / _spread(grid), -100, 100))


def _low(grid: Array) -> Array:
    return np.asarray(np.clip((grid[:, _MIDDLE] - grid[:, 0]) / _spread(grid), -100, 100))
