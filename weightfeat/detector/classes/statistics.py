"""Statistics of classes and pairs that a digest's tables hold the makings of: see `rows` for what each is called."""

from __future__ import annotations

import numpy as np

from weightfeat.digest import Digest
from weightfeat.digest.latents import KINDS
from weightfeat.features.summaries import Array

SELDOM = 0.15
_TINY = 1e-12
_ROWS = 64  # at a time


def unit(weighted: Array) -> float:
    """The head's own unit, from its rows times the spreads of its inputs (C, D): the standard deviation that the
    inputs give a class's logit, less the mean logit of all classes, in the median over classes. 1 where it is none."""
    deviations = np.linalg.norm(weighted - weighted.mean(axis=0), axis=1)
    middle = float(np.median(deviations)) if len(deviations) else 0.0
    return middle if np.isfinite(middle) and middle > _TINY else 1.0


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


def rare(matrix: Array, mean: Array, inactive: Array, spread: Array) -> Array:
    positive = np.maximum(matrix, 0)
    evidence = positive * mean
    seldom = evidence[:, inactive > 1 - SELDOM].sum(axis=1)
    share = np.log((seldom + _TINY) / (evidence.sum(axis=1) + _TINY) + 1e-3)
    peak = (positive * spread * inactive).max(axis=1)
    return np.stack([share, np.log(peak + _TINY)], axis=1)


def through(rows: Array) -> Array:
    """Mean, share of positive entries and log of the number of inputs that carry the positive ones, of every row of the
    head's matrix times the feeding layer's (C, n); NaN where several layers feed the head. (C, 3)"""
    if not rows.shape[1]:
        return np.full((len(rows), 3), np.nan)
    positive = np.maximum(rows, 0)
    carriers = (positive.sum(axis=1) ** 2 + _TINY) / ((positive**2).sum(axis=1) + _TINY)
    return np.stack([rows.mean(axis=1), (rows > 0).mean(axis=1), np.log(carriers)], axis=1)


def tie(cosines: Array) -> Array:
    """First less second cosine of each class with the others; NaN with fewer than two others. (C,)"""
    if len(cosines) < 3:
        return np.full(len(cosines), np.nan)
    ordered = np.sort(np.nan_to_num(cosines, nan=-2.0), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def switches(matrix: Array, inactive: Array) -> list[Array]:
    """`switch` and `rare_switch` for every (t, s). (C, C) each."""
    up, down = np.maximum(matrix, 0), np.maximum(-matrix, 0)
    return [np.log(_strongest(up * weight, down) + 1e-9) for weight in (np.ones_like(inactive), inactive)]


def _strongest(up: Array, down: Array) -> Array:
    """The largest product of two rows' entries of one place, for every row of each. (C, C)

    A few rows at a time, whose products stay in a processor's cache: there may be thousands of rows.
    """
    strength, products = np.empty((len(up), len(down))), np.empty((_ROWS, down.shape[1]))
    for start in range(0, len(down), _ROWS):
        part = down[start : start + _ROWS]
        for target, row in enumerate(up):
            here = np.multiply(row, part, out=products[: len(part)])
            here.max(axis=1, out=strength[target, start : start + _ROWS])
    return strength


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
