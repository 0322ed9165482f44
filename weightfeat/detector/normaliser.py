"""Robust standardisation within each architecture, drawn to its family and to the pool where rows are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.features.summaries import Array

__all__ = ["CLIP", "LEVELS", "UNKNOWN", "Normaliser", "fit_normaliser", "robust"]

CLIP = 10.0
UNKNOWN = "unknown"  # what an architecture or family is called when shapes prove nothing: never a population
LEVELS = ("architecture", "family", "pool")
MAD_TO_SIGMA = 1.4826022185056018  # 1 / the normal distribution's 0.75 quantile
MEAN_DEVIATION_TO_SIGMA = 1.2533141373155001  # sqrt(pi / 2)


@dataclass(frozen=True, eq=False)
class Normaliser:
    """Centres and scales, float64, one row a population: architectures, then families, then the pool.

    A scale of 0 says that the column was constant there; a NaN centre that it was never seen.
    """

    architectures: tuple[str, ...]
    families: tuple[str, ...]
    centre: Array
    scale: Array

    def levels(self, architecture: Sequence[str], family: Sequence[str]) -> NDArray[np.int64]:
        """For every row, which population it is compared with: an index into `LEVELS`."""
        rows = self._rows(architecture, family)
        first_family, pool = len(self.architectures), len(self.centre) - 1
        return np.where(rows < first_family, 0, np.where(rows < pool, 1, 2)).astype(np.int64)

    def transform(self, values: Array, architecture: Sequence[str], family: Sequence[str]) -> Array:
        """(x - centre) / scale of the row's population, kept within +-CLIP; NaN stays NaN.

        A column that was constant in the population says nothing: 0.
        """
        rows = self._rows(architecture, family)
        centre, scale = self.centre[rows], self.scale[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            z = np.clip((values - centre) / np.where(scale > 0, scale, 1.0), -CLIP, CLIP)
        return np.where((scale > 0) | np.isnan(z), z, 0.0)

    def _rows(self, architecture: Sequence[str], family: Sequence[str]) -> NDArray[np.int64]:
        known = {name: at for at, name in enumerate(self.architectures)}
        families = {name: at + len(known) for at, name in enumerate(self.families)}
        pool = len(self.centre) - 1
        pairs = zip(architecture, family, strict=True)
        return np.array([known.get(a, families.get(f, pool)) for a, f in pairs], dtype=np.int64)


def fit_normaliser(
    values: Array, architecture: Sequence[str], family: Sequence[str], shrinkage: float
) -> Normaliser:
    """Fit on training rows, (rows, columns), without labels.

    Per column, with k = `shrinkage`, n the number of rows with a value, c a median and t = 1.4826 MAD (the mean
    deviation where the MAD is 0), w(n, m) = n / (n + m) and mix(w, x, y) = w x + (1 - w) y:

    - pool: centre c_P and scale t_P over all rows; s_P the scale of the residuals from each architecture's own median.
    - family F: centre mix(w(n_F, k r_F), c_F, c_P) with r_F = min(1, (t_F / t_P)^2); scale mix(w(n_F, k), t_F, t_P);
      s_F = mix(w(n_F, k), residual scale in F, s_P).
    - architecture A: scale s_A = mix(w(n_A, k), t_A, s_F); centre mix(w(n_A, k r_A), c_A, centre of F)
      with r_A = min(1, (s_A / scale of F)^2).

    So k rows' worth of belief stands on the wider population, less where populations lie far apart compared with
    their own spread: the weight of an empirical Bayes estimate whose between-group variance is at hand.
    """
    own_name, own_family = np.asarray(architecture, dtype=str), np.asarray(family, dtype=str)
    names = tuple(sorted(set(own_name.tolist()) - {UNKNOWN}))
    families = tuple(sorted(set(own_family.tolist()) - {UNKNOWN}))
    pool_centre, pool_total, _ = robust(values)
    residuals, own = _residuals(values, own_name)
    pool_within = _or(_spread(residuals), pool_total)

    family_tables = {}
    for name in families:
        rows = own_family == name
        centre, total, n = robust(values[rows])
        weight = _weight(n, shrinkage)
        scale = _mix(weight, total, pool_total)
        pull = shrinkage * _ratio(total, pool_total)
        within = _mix(weight, _or(_spread(residuals[rows]), pool_within), pool_within)
        family_tables[name] = (_mix(_weight(n, pull), centre, pool_centre), scale, within)

    centres, scales = [], []
    for name in names:
        above = family_tables.get(
            str(own_family[own_name == name][0]), (pool_centre, pool_total, pool_within)
        )
        centre, total, n = own[name]
        scale = _mix(_weight(n, shrinkage), total, above[2])
        pull = shrinkage * _ratio(scale, above[1])
        centres.append(_mix(_weight(n, pull), centre, above[0]))
        scales.append(scale)
    centres += [family_tables[name][0] for name in families] + [pool_centre]
    scales += [family_tables[name][1] for name in families] + [pool_total]
    scale = np.nan_to_num(np.array(scales), nan=0.0)
    middle = np.array(centres)
    return Normaliser(names, families, middle, np.where(scale > _tiny(middle), scale, 0.0))


def robust(values: Array) -> tuple[Array, Array, Array]:
    """Median, robust scale and number of values of each column; NaN for a column without values."""
    centre = _median(values)
    return centre, _spread(values - centre), np.sum(~np.isnan(values), axis=0).astype(np.float64)


def _spread(deviations: Array) -> Array:
    size = np.abs(deviations)
    count = np.sum(~np.isnan(size), axis=0)
    mean = np.where(count > 0, np.nansum(size, axis=0) / np.maximum(count, 1), np.nan)
    scale = MAD_TO_SIGMA * _median(size)
    return np.where(scale == 0, MEAN_DEVIATION_TO_SIGMA * mean, scale)


def _median(values: Array) -> Array:
    """numpy's nanmedian without its warning for empty columns."""
    if not len(values):
        return np.full(values.shape[1], np.nan)
    ordered = np.sort(values, axis=0)
    count = np.sum(~np.isnan(values), axis=0)
    low, high = np.maximum((count - 1) // 2, 0), np.minimum(count // 2, len(values) - 1)
    columns = np.arange(values.shape[1])
    median: Array = np.where(count > 0, 0.5 * ordered[low, columns] + 0.5 * ordered[high, columns], np.nan)
    return median


def _residuals(
    values: Array, architecture: NDArray[np.str_]
) -> tuple[Array, dict[str, tuple[Array, Array, Array]]]:
    """Residuals from each architecture's median; NaN where it has fewer than three values, whose spread is no guide."""
    residuals, own = np.full_like(values, np.nan), {}
    for name in sorted(set(architecture.tolist()) - {UNKNOWN}):
        rows = architecture == name
        own[name] = robust(values[rows])
        residuals[rows] = np.where(own[name][2] >= 3, values[rows] - own[name][0], np.nan)
    return residuals, own


def _weight(n: Array, pseudo: float | Array) -> Array:
    total = n + pseudo
    return np.where(n > 0, n / np.where(total > 0, total, 1.0), 0.0)


def _mix(weight: Array, own: Array, above: Array) -> Array:
    """weight * own + (1 - weight) * above, exact at both ends even where the other side is NaN."""
    mixed = np.where(np.isnan(above), own, weight * own + (1 - weight) * above)
    return np.where((weight == 0) | np.isnan(own), above, mixed)


def _ratio(inner: Array, outer: Array) -> Array:
    known = (outer > 0) & ~np.isnan(inner)
    return np.minimum(1.0, np.where(known, inner, 1.0) / np.where(known, outer, 1.0)) ** 2


def _or(first: Array, second: Array) -> Array:
    return np.where(np.isnan(first), second, first)


def _tiny(centre: Array) -> Array:
    """Spreads at the level of rounding are no spread."""
    return np.nan_to_num(np.abs(centre), nan=0.0) * 1e-13
