"""Sorted, per-tensor-normalised weights with logistic regression (Huster et al., arXiv 2411.03445)."""

from __future__ import annotations

import numpy as np

from rival_detectors.estimators import Calibrated, PerArchitecture, Pooled
from rival_detectors.models import logistic
from rival_detectors.protocol import Rival
from weightfeat.digest import Digest
from weightfeat.digest.distribution import QUANTILES

SOURCE = "Huster et al. 2024, arXiv 2411.03445"
NOTE = "43 order statistics a tensor stand for all of its sorted weights; no reference model to subtract from scratch"
BINS = 8
_TINY = 1e-12


def by_layer(digest: Digest) -> dict[str, float]:
    """Every weight and bias tensor's order statistics over its standard deviation, and log of that deviation."""
    moments, scaled = _scaled(digest)
    out: dict[str, float] = {}
    for at, (row, values) in enumerate(zip(moments, scaled, strict=True)):
        if np.isfinite(row[0]):
            out[f"{at}.log_std"] = float(np.log(max(row[2], _TINY)))
            out |= {f"{at}.q{point}": float(value) for point, value in enumerate(values)}
    return out


def by_depth(digest: Digest) -> dict[str, float]:
    """The same averaged over eighths of the depth, the head apart: columns that all architectures share."""
    layers = digest.blocks["layers"]
    moments, scaled = _scaled(digest)
    count = len(layers["role"])
    where = np.clip((layers["depth"].astype(np.float64) * BINS).astype(int), 0, BINS - 1)
    where = np.where(layers["role"] == "head", BINS, where)
    out: dict[str, float] = {}
    for index in range(BINS + 1):
        rows = np.flatnonzero(where == index)
        if len(rows):
            mean = scaled[:count][rows].mean(axis=0)
            out |= {f"d{index}.q{point}": float(value) for point, value in enumerate(mean)}
            deviation = np.maximum(moments[:count][rows, 2], _TINY)
            out[f"d{index}.log_std"] = float(np.log(deviation).mean())
    return out


def _scaled(digest: Digest) -> tuple[np.ndarray, np.ndarray]:
    block = digest.blocks["distribution"]
    moments, grid = block["moments"], block["grid"].astype(np.float64)
    assert grid.shape[1] == len(QUANTILES)
    return moments, grid / np.maximum(moments[:, 2], _TINY)[:, None]


PER_ARCHITECTURE = Rival(
    "sorted weights, logistic, per architecture",
    SOURCE,
    by_layer,
    lambda: Calibrated(lambda: PerArchitecture(logistic)),
    NOTE,
)
POOLED = Rival(
    "sorted weights, logistic, pooled",
    SOURCE,
    by_depth,
    lambda: Calibrated(lambda: Pooled(logistic)),
    NOTE + "; averaged over eighths of the depth so that architectures can share columns",
)
