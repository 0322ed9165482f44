"""Blocks `distribution` and `quantiles`: the raw weights' values, pooled over depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightfeat.digest.distribution import QUANTILES
from weightfeat.digest.types import Digest
from weightfeat.features.registry import feature_block
from weightfeat.features.summaries import BINS, body, pooled, pooled_names

_MOMENTS = ("skewness", "kurtosis", "offset", "tail", "largest", "lowest")
_POINTS = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)


@feature_block("distribution", pooled_names(_MOMENTS), relative=False, reads=("distribution",))
def distribution(digest: Digest) -> Sequence[float]:
    """Per layer: skewness, log(3 + excess kurtosis), mean / std, share beyond 4 std, max / std, min / std."""
    inside = body(digest)
    count = len(inside)
    block = digest.blocks["distribution"]
    moments, grid = block["moments"][:count], block["grid"][:count].astype(np.float64)
    std = np.maximum(moments[:, 2], 1e-12)
    columns = (
        moments[:, 3],
        np.log(np.maximum(moments[:, 4] + 3.0, 1e-6)),
        moments[:, 1] / std,
        moments[:, 8],
        grid[:, -1] / std,
        grid[:, 0] / std,
    )
    depth = digest.blocks["layers"]["depth"].astype(np.float64)[inside]
    return [value for column in columns for value in pooled(column[inside], depth)]


@feature_block(
    "quantiles",
    [f"{where}.{name}" for where in BINS for name in ("log_std", *(f"q{point}" for point in _POINTS))],
    relative=False,
    reads=("distribution",),
)
def quantiles(digest: Digest) -> Sequence[float]:
    """Per quarter of the depth: mean log standard deviation, and mean quantiles of the weights over their std."""
    inside = body(digest)
    block = digest.blocks["distribution"]
    std = np.maximum(block["moments"][: len(inside), 2], 1e-12)
    columns = [int(np.argmin(np.abs(QUANTILES - point))) for point in _POINTS]
    scaled = block["grid"][: len(inside), columns].astype(np.float64) / std[:, None]
    table = np.concatenate([np.log(std)[:, None], scaled], axis=1)[inside]
    depth = digest.blocks["layers"]["depth"].astype(np.float64)[inside]
    bins = np.clip((depth * len(BINS)).astype(int), 0, len(BINS) - 1)
    out: list[float] = []
    for index in range(len(BINS)):
        rows = table[bins == index]
        out += (rows.mean(axis=0) if len(rows) else np.full(table.shape[1], np.nan)).tolist()
    return out
