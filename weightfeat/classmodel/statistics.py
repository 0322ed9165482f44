"""Statistics of classes and pairs that a digest's tables hold the makings of: see `rows` for what each is called."""

from __future__ import annotations

from math import erf, sqrt

import numpy as np

from weightfeat.digest import Digest
from weightfeat.digest.latents import KINDS
from weightfeat.digest.paths import SUMS
from weightfeat.features.summaries import Array

SELDOM = 0.15
_TINY = 1e-12


def latents(digest: Digest) -> Array:
    block = digest.blocks["latents"]
    second = np.log(block["second"].astype(np.float64).T + 1e-4)
    through = KINDS.index("through")
    margin = np.log(block["margin"][[through]].astype(np.float64).T + _TINY)
    return np.concatenate([second, margin, block["logit"][:, :, 1].astype(np.float64).T], axis=1)


def top(top: Array) -> Array:
    weight, centre, spread, lipschitz, rival = (top[:, :, i] for i in range(5))
    # Beyond the channels that speak for a class at all, their order is arbitrary.
    known = np.isfinite(weight) & (weight > 0)
    exclusive = np.where(known, weight - rival, 0.0).sum(1) / (
        np.where(known, np.abs(weight), 0.0).sum(1) + _TINY
    )
    carrier = np.where(known & np.isfinite(lipschitz), lipschitz, -np.inf).max(axis=1)
    threshold = np.where(known, np.clip(centre / np.maximum(spread, _TINY), -10, 10), np.inf).min(axis=1)
    return np.stack([exclusive, np.log(np.maximum(carrier, _TINY)), threshold], axis=1)


def law(centre: Array, spread: Array) -> tuple[Array, Array]:
    """P(inactive) and E[relu] of Normal(centre, spread^2), (D,) each."""
    t = centre / np.maximum(spread, _TINY)
    active = np.array([0.5 * (1 + erf(x / sqrt(2))) for x in t])
    density = np.exp(-0.5 * np.minimum(t * t, 1400.0)) / sqrt(2 * np.pi)
    return 1 - active, np.maximum(spread * density + centre * active, 0.0)


def rare(matrix: Array, mean: Array, inactive: Array, spread: Array) -> Array:
    positive = np.maximum(matrix, 0)
    evidence = positive * mean
    seldom = evidence[:, inactive > 1 - SELDOM].sum(axis=1)
    share = np.log((seldom + _TINY) / (evidence.sum(axis=1) + _TINY) + 1e-3)
    peak = (positive * spread * inactive).max(axis=1)
    return np.stack([share, np.log(peak + _TINY)], axis=1)


def through(digest: Digest) -> Array:
    mean, share, total, squares = _sums_through(digest)
    return np.stack([mean, share, np.log((total**2 + _TINY) / (squares + _TINY))], axis=1)


def _sums_through(digest: Digest) -> Array:
    """Mean, share of positive entries, their sum and square sum of every class's row through the feeding layers. (4, C)

    Digests from before the block `paths` hold these rows themselves, where one layer feeds the head.
    """
    if "paths" in digest.blocks:
        names = ("mean", "positive", "positive_sum", "positive_squares")
        return np.asarray(digest.blocks["paths"]["sums"].T[[SUMS.index(name) for name in names]])
    rows = digest.blocks["head"]["through"].astype(np.float64)
    if not rows.shape[1]:
        return np.full((4, len(rows)), np.nan)
    positive = np.maximum(rows, 0)
    return np.stack([rows.mean(1), (rows > 0).mean(1), positive.sum(1), (positive**2).sum(1)])


def tie(cosines: Array) -> Array:
    """First less second cosine of each class with the others; NaN with fewer than two others. (C,)"""
    if len(cosines) < 3:
        return np.full(len(cosines), np.nan)
    ordered = np.sort(np.nan_to_num(cosines, nan=-2.0), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def switches(matrix: Array, inactive: Array) -> list[Array]:
    """`switch` and `rare_switch` for every (t, s). (C, C) each."""
    up, down = np.maximum(matrix, 0), np.maximum(-matrix, 0)
    out = []
    for weight in (np.ones_like(inactive), inactive):
        strength = np.stack([(row * weight * down).max(axis=1) for row in up])
        out.append(np.log(strength + 1e-9))
    return out


def off_diagonal(table: Array) -> Array:
    """(C, C - 1)"""
    count = len(table)
    return table[~np.eye(count, dtype=bool)].reshape(count, max(count - 1, 0))


def residuals(counts: Array) -> Array:
    """(observed - expected) / sqrt(expected + 1) of a winner x runner-up table, expected from its margins. (C, C)"""
    total = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0))
    np.fill_diagonal(expected, 0.0)
    expected *= total / max(expected.sum(), _TINY)
    return np.asarray((counts - expected) / np.sqrt(expected + 1.0))
