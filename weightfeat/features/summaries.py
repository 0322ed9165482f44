"""Small summaries shared by the blocks: depth bins, outliers among few values, robust scores."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.types import Array as Array  # every room says it of what features give
from weightfeat.digest.types import Digest

MIXING = ("conv", "grouped", "linear")
"""Kinds of layers that mix channels."""
BINS = ("early", "lower", "upper", "late")
POOLED = (*BINS, "largest", "smallest")
OUTLIER = ("dixon", "excess", "fall")
Z_CLIP = 12.0
DEVIATIONS = 0.1
"""Standard deviations that a robust scale has beside the median absolute deviation."""
_TINY = 1e-12


def body(digest: Digest) -> NDArray[np.bool_]:
    """Layers that mix channels, the head excepted: the rows whose spectra and distributions are pooled. (L,)"""
    layers = digest.blocks["layers"]
    mixing = np.isin(layers["kind"], MIXING)
    return np.asarray(mixing & (layers["role"] != "head"))


def pooled(values: Array, depth: Array) -> list[float]:
    """Means of a per-layer value over four bins of depth, then its largest and smallest: `POOLED`.

    Bins are quarters of the depth; an empty one is NaN, as is everything when no layer has a value.
    """
    known = np.isfinite(values)
    values, depth = values[known], depth[known]
    if not len(values):
        return [float("nan")] * len(POOLED)
    bins = np.clip((depth * len(BINS)).astype(int), 0, len(BINS) - 1)
    means = [float(values[bins == b].mean()) if (bins == b).any() else float("nan") for b in range(len(BINS))]
    return [*means, float(values.max()), float(values.min())]


def pooled_names(statistics: Sequence[str]) -> list[str]:
    """Names of `pooled` for several statistics."""
    return [f"{statistic}.{where}" for statistic in statistics for where in POOLED]


def outlier(values: Array) -> list[float]:
    """How much the largest of a few values stands out: `OUTLIER`.

    - dixon: (x1 - x2) / (x1 - xn), Dixon's ratio (Fields et al., arXiv 2109.02836)
    - excess: robust z of the largest less what the largest of n normal values would have
    - fall: the same of the smallest, downwards
    """
    known = values[np.isfinite(values)]
    if len(known) < 3:
        return [float("nan")] * len(OUTLIER)
    ordered = np.sort(known)[::-1]
    spread = ordered[0] - ordered[-1]
    z = robust_z(ordered)
    expected = expected_largest(len(ordered))
    dixon = (ordered[0] - ordered[1]) / spread if spread > _TINY else 0.0
    return [float(dixon), float(z[0] - expected), float(-z[-1] - expected)]


def outlier_names(statistics: Sequence[str]) -> list[str]:
    """Names of `outlier` for several statistics."""
    return [f"{statistic}.{part}" for statistic in statistics for part in OUTLIER]


def robust_z(values: Array, axis: int = 0) -> Array:
    """`standardised`, clipped to +-12."""
    return np.clip(standardised(values, axis), -Z_CLIP, Z_CLIP)


def standardised(values: Array, axis: int = 0, deviations: float = DEVIATIONS) -> Array:
    """`centred` over `robust_scale`; 0 where all values agree, NaN beside a NaN."""
    differences = centred(values, axis)
    scale = np.expand_dims(robust_scale(differences, axis, deviations), axis)
    level = scale <= _TINY
    return np.asarray(np.where(level, 0.0, differences / np.where(level, 1.0, scale)))


def centred(values: Array, axis: int = 0) -> Array:
    """Values less their median."""
    return np.asarray(values - np.median(values, axis=axis, keepdims=True))


def robust_scale(differences: Array, axis: int = 0, deviations: float = DEVIATIONS) -> Array:
    """1.4826 MAD + so many standard deviations, of differences from the median.

    The second term keeps a near-constant majority from making everything else infinitely far.
    """
    mad = 1.4826 * np.median(np.abs(differences), axis=axis)
    return np.asarray(mad + deviations * differences.std(axis=axis))


def expected_largest(count: int) -> float:
    """Expected largest of `count` standard normal values (Blom 1958: quantile (n - 0.375) / (n + 0.25))."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


def log_ratio(numerator: Array, denominator: Array) -> Array:
    """log(a / b), NaN where either is not positive."""
    good = (numerator > 0) & (denominator > 0)
    return np.log(np.where(good, numerator, np.nan) / np.where(good, denominator, 1.0))
