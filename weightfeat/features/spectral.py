"""Block `spectrum`: singular values against the Marchenko-Pastur edge; block `alignment`: directions handed on.

For an m x n layer (m <= n) with entries of variance v, a random matrix's largest singular value is the edge
sqrt(v) (sqrt(n) + sqrt(m)) (Marchenko and Pastur 1967).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightfeat.digest.spectrum import QUANTILES
from weightfeat.digest.types import Block, Digest
from weightfeat.features.registry import feature_block
from weightfeat.features.summaries import Array, body, log_ratio, pooled, pooled_names

_LAYER = ("spike", "gap", "stable_rank", "entropy", "above_edge", "folded_gap", "bulk")


@feature_block(
    "spectrum",
    [*pooled_names(_LAYER), *(f"head.{name}" for name in _LAYER[:4])],
    relative=False,
    reads=("spectrum",),
)
def spectrum(digest: Digest) -> Sequence[float]:
    """Per layer, then pooled over depth; s1 >= s2 ... are the singular values, F the Frobenius norm.

    - spike: log(s1 / edge); gap: log(s1 / s2); stable_rank: log(F^2 / s1^2) / log m
    - entropy: entropy of s^2 / F^2 over log m; above_edge: share of singular values over the edge
    - folded_gap: log of the first over the second singular value after BatchNorm folding
    - bulk: log of the median singular value over F / sqrt(m)
    """
    layers, spectra = digest.blocks["layers"], digest.blocks["spectrum"]
    leading, grid, powers = (spectra[name].astype(np.float64) for name in ("leading", "grid", "powers"))
    small = spectra["sides"][:, 0].astype(np.float64)
    frobenius, edge = np.sqrt(powers[:, 1]), edges(spectra)
    log_side = np.log(np.maximum(small, 2))
    folded = spectra["folded"].astype(np.float64)
    columns = (
        log_ratio(leading[:, 0], edge),
        log_ratio(leading[:, 0], leading[:, 1]),
        2 * log_ratio(frobenius, leading[:, 0]) / log_side,
        powers[:, 3] / log_side,
        share_above(grid, edge),
        log_ratio(folded[:, 0], folded[:, 1]),
        log_ratio(np.median(grid, axis=1), frobenius / np.sqrt(small)),
    )
    inside = body(digest)
    depth = layers["depth"].astype(np.float64)[inside]
    head = int(np.flatnonzero(layers["role"] == "head")[0])
    out: list[float] = []
    for column in columns:
        out += pooled(column[inside], depth)
    return [*out, *(float(column[head]) for column in columns[:4])]


@feature_block(
    "alignment",
    [*pooled_names(["handed_on", "first_pair"]), "head.leading", "head.leading_spread"],
    relative=True,
    reads=("alignment", "head"),
)
def alignment(digest: Digest) -> Sequence[float]:
    """Overlap of consecutive layers' leading directions over chance, 8 / channels for eight random directions.

    head.leading is the largest, and head.leading_spread the spread over classes, of the squared cosine of a class's row
    with the leading left direction of the layer that feeds the head.
    """
    layers, block = digest.blocks["layers"], digest.blocks["alignment"]
    inside = body(digest)
    depth = layers["depth"].astype(np.float64)[inside]
    channels = layers["shape"][:, 1].astype(np.float64)
    handed = log_ratio(block["energy"].astype(np.float64) * channels, np.full(len(channels), 8.0))
    first = log_ratio(block["overlap"][:, 0, 0].astype(np.float64) * channels, np.ones(len(channels)))
    left = digest.blocks["head"]["left"].astype(np.float64)
    leading = [float(left[:, 0].max()), float(left[:, 0].std())] if left.size else [float("nan")] * 2
    return [*pooled(handed[inside], depth), *pooled(first[inside], depth), *leading]


def edges(spectra: Block) -> Array:
    """The largest singular value that a random matrix of each layer's size and variance would have. (L,)"""
    small, large = spectra["sides"].astype(np.float64).T
    frobenius = np.sqrt(spectra["powers"][:, 1].astype(np.float64))
    return np.asarray(frobenius / np.sqrt(small * large) * (np.sqrt(small) + np.sqrt(large)))


def share_above(grid: Array, edge: Array) -> Array:
    """Share of singular values over the edge, by interpolation in the quantile grid. (L,)"""
    return np.array([1.0 - np.interp(e, row, QUANTILES) for row, e in zip(grid, edge, strict=True)])
