"""How the design's factors change detectability: main effects, interactions and slopes, with intervals.

Every trojaned network has two numbers: its cross-entropy, and its placement, the share of clean networks that score
lower (DeLong et al. 1988). The mean placement of a cell's networks is the cell's AUC against all clean ones, so both
figures are means over networks and their effects are contrasts of cell means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from weightfeat.evaluation.covariates import COVARIATES, covariate, slopes
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.intervals import Estimate, percentiles, resampled
from weightfeat.evaluation.metrics import Floats, Ints, elementwise_cross_entropy
from weightfeat.evaluation.silence import Row
from weightfeat.evaluation.strata import class_level, trojan_cell
from weightfeat.evaluation.trojans import UNKNOWN

FACTORS = ("classes", "trigger", "attacked")
LEAST = 2
"""Networks a cell must hold: with one, resampling it shows no spread."""
LEAST_SLOPE = 12
ATTACKED = ("one", "two", "several", "all")


@dataclass(frozen=True)
class Effect:
    """What one level of a factor, one cell of two factors, or one covariate does.

    `term` is "trigger", "trigger x attacked" or a covariate's name. `cross_entropy` and `roc_auc` are means with equal
    weight for every cell of the factors in `balanced`, which are crossed with the term's own; the `_effect` is the
    deviation from the mean of the levels, for an interaction from what its two main effects add up to, and for a
    covariate the change per standard deviation, the three factors' main effects held fixed.
    """

    term: str
    level: str
    networks: int
    balanced: tuple[str, ...]
    cross_entropy: Estimate
    cross_entropy_effect: Estimate
    roc_auc: Estimate
    roc_auc_effect: Estimate


@dataclass(frozen=True, eq=False)
class _Sample:
    """Trojaned networks: levels by factor, numbers of both figures in each draw, and how often each is drawn.

    Draw 0 is the sample as it is. `values` are (draws + 1 or 1, n), `counts` (draws + 1, n).
    """

    levels: dict[str, NDArray[np.str_]]
    values: dict[str, Floats]
    counts: Floats


def effects(
    cv: CrossValidation, rows: Sequence[Row], *, draws: int = 2000, seed: int = 0
) -> tuple[Effect, ...]:
    """Main effects, two-way interactions, then covariates; `rows` are METADATA rows in the order of `cv.names`.

    Networks with an unknown level of a factor are left out, and so is a term with too few networks in a cell. Intervals
    are 95 %, by bootstrap over networks within each cell, clean networks resampled too; they are not corrected for
    there being many.
    """
    levels = _levels(cv, rows)
    known = np.all([np.array(levels[f]) != UNKNOWN for f in FACTORS], axis=0) & (cv.labels == 1)
    if known.sum() < LEAST or not (cv.labels == 0).any():
        return ()
    sample = _sample(cv, levels, known, draws, seed)
    varying = [factor for factor in FACTORS if len(set(sample.levels[factor])) > 1]
    found = [effect for factor in varying for effect in _term(sample, (factor,), varying)]
    for pair in combinations(varying, 2):
        found += _term(sample, pair, varying)
    dummies = [_dummies(sample.levels[factor]) for factor in varying]
    for name in COVARIATES:
        found += _covariate(
            sample, name, covariate(name, [r for r, k in zip(rows, known, strict=True) if k]), dummies
        )
    return tuple(found)


def _levels(cv: CrossValidation, rows: Sequence[Row]) -> dict[str, list[str]]:
    cells = [trojan_cell(row, trojaned=bool(label)) for row, label in zip(rows, cv.labels, strict=True)]
    return {
        "classes": [class_level(row) for row in rows],
        "trigger": [cell.trigger for cell in cells],
        "attacked": [cell.attacked for cell in cells],
    }


def _sample(
    cv: CrossValidation, levels: Mapping[str, Sequence[str]], known: NDArray[np.bool_], draws: int, seed: int
) -> _Sample:
    chosen = {factor: np.array(levels[factor])[known] for factor in FACTORS}
    cells = np.unique(np.array([*chosen.values()]), axis=1, return_inverse=True)[1].ravel()
    clean = cv.labels == 0
    once = np.ones((1, known.sum())), np.ones((1, clean.sum()))
    counts = np.vstack([once[0], resampled(cells, draws, seed)])
    of_clean = np.vstack([once[1], resampled(np.zeros(clean.sum(), dtype=np.int64), draws, seed + 1)])
    p = cv.probabilities
    above = np.mean([np.sign(r[known][:, None] - r[clean][None, :]) / 2 + 0.5 for r in p], axis=0)
    placement = of_clean @ above.T / clean.sum()
    loss = elementwise_cross_entropy(cv.labels, p)[known][None, :]
    return _Sample(chosen, {"cross_entropy": loss, "roc_auc": placement}, counts)


def _term(sample: _Sample, term: tuple[str, ...], factors: Sequence[str]) -> list[Effect]:
    """Effects of every level of `term`, balanced over as many other factors as the cells allow."""
    others = [factor for factor in factors if factor not in term]
    choices = [extra for size in range(len(others), -1, -1) for extra in combinations(others, size)]
    for extra in choices:
        names = [_ordered(set(sample.levels[factor].tolist())) for factor in (*term, *extra)]
        code, size = _codes(sample, (*term, *extra), names)
        if np.bincount(code, minlength=size).min() >= LEAST:
            tables = {
                figure: _means(values, sample.counts, code, [len(n) for n in names], len(term))
                for figure, values in sample.values.items()
            }
            return _effects_of(sample, term, extra, names, tables)
    return []


def _ordered(levels: set[str]) -> list[str]:
    """Numbers of attacked classes from few to many, other levels by name."""
    return sorted(levels, key=lambda level: (ATTACKED.index(level) if level in ATTACKED else -1, level))


def _codes(sample: _Sample, factors: Sequence[str], names: Sequence[Sequence[str]]) -> tuple[Ints, int]:
    """The cell of every network, cells in row-major order of the levels, and how many there are."""
    code = np.zeros(sample.counts.shape[1], dtype=np.int64)
    for factor, levels in zip(factors, names, strict=True):
        code = code * len(levels) + np.array([levels.index(level) for level in sample.levels[factor]])
    return code, math.prod(map(len, names))


def _means(values: Floats, counts: Floats, code: Ints, shape: Sequence[int], kept: int) -> Floats:
    """Cell means in every draw with the axes after the first `kept` averaged out, (draws + 1, *shape[:kept])."""
    members = np.eye(math.prod(shape))[code]
    means = (counts * values) @ members / (counts @ members)
    table = means.reshape(-1, *shape)
    return np.asarray(table.mean(axis=tuple(range(1 + kept, 1 + len(shape)))), dtype=np.float64)


def _effects_of(
    sample: _Sample,
    term: tuple[str, ...],
    extra: tuple[str, ...],
    names: Sequence[Sequence[str]],
    tables: Mapping[str, Floats],
) -> list[Effect]:
    deviations = {figure: _deviation(table) for figure, table in tables.items()}
    out = []
    for at in product(*(range(len(levels)) for levels in names[: len(term)])):
        words = [names[axis][place] for axis, place in enumerate(at)]
        inside = np.all([sample.levels[f] == w for f, w in zip(term, words, strict=True)], axis=0)
        estimates = {
            figure + suffix: _estimate(np.moveaxis(table[figure], 0, -1)[at])
            for suffix, table in (("", tables), ("_effect", deviations))
            for figure in tables
        }
        out.append(Effect(" x ".join(term), " x ".join(words), int(inside.sum()), extra, **estimates))
    return out


def _deviation(table: Floats) -> Floats:
    """From the mean of the levels, or for two factors from the sum of what each does by itself."""
    out = table
    for axis in range(1, table.ndim):
        out = out - out.mean(axis=axis, keepdims=True)
    return out


def _dummies(levels: NDArray[np.str_]) -> Floats:
    return np.asarray(levels[:, None] == np.unique(levels)[None, 1:], dtype=np.float64)


def _covariate(sample: _Sample, name: str, x: Floats, dummies: Sequence[Floats]) -> list[Effect]:
    """The slope of both figures, over the networks that have the covariate."""
    has = np.isfinite(x)
    if has.sum() < LEAST_SLOPE or np.ptp(x[has]) == 0:
        return []
    spread = float(x[has].std())
    beside = np.hstack([np.ones((has.sum(), 1)), *(dummy[has] for dummy in dummies)])
    counts, estimates = sample.counts[:, has], {}
    for figure, values in sample.values.items():
        y = values[:, has]
        estimates[figure] = _estimate((counts * y).sum(axis=1) / counts.sum(axis=1))
        estimates[f"{figure}_effect"] = _estimate(slopes(x[has] / spread, y, beside, counts))
    return [Effect(name, f"+1 sd ({spread:.3g})", int(has.sum()), FACTORS, **estimates)]


def _estimate(drawn: Floats) -> Estimate:
    return percentiles(float(drawn[0]), drawn[1:])
