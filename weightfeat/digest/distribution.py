"""Block `distribution`: the values of every weight and bias tensor, position forgotten.

Rows 0..L-1 are the layers' weights, rows L..2L-1 their biases (NaN where there is none):

- `moments` (2L, 9) float64: count, mean, standard deviation, skewness, excess kurtosis, mean |w|, sum, share
  of |w| < 1e-3 standard deviations, share of |w - mean| > 4 standard deviations
- `grid` (2L, 43) float32: order statistics at `QUANTILES` (nearest rank: equal on every device), with dense tails;
  0, 0.5 and 1 among them are the minimum, median and maximum. Divided by the standard deviation, they are the
  quantiles of the normalised weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.order import count_below, order_statistics
from weightfeat.digest.place import AnyArray, Place, host, namespace
from weightfeat.digest.tensors import LayerTensors
from weightfeat.digest.types import Block

VERSION = 1
_TAIL = np.array([0.0, 1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.015, 0.02, 0.03, 0.04])
QUANTILES = np.concatenate([_TAIL, np.round(np.linspace(0.05, 0.95, 19), 6), 1.0 - _TAIL[::-1]])
MOMENTS = 9
SORTED = 1 << 22
"""More values than this are not sorted whole on a CPU; only wide residual networks and VGG have such layers."""
_CHUNK = 1 << 18
_ROW = 256


@dataclass(frozen=True, eq=False)
class Distribution:
    """One tensor's moments and order statistics."""

    moments: NDArray[np.float64]
    grid: NDArray[np.float32]


MISSING = Distribution(np.full(MOMENTS, np.nan), np.full(len(QUANTILES), np.nan, np.float32))


def distribution(tensors: LayerTensors) -> tuple[Distribution, Distribution]:
    """Summaries of a layer's weight and of its bias."""
    bias = tensors.layer.bias
    weight = _summary(tensors.weight.reshape(-1), tensors.place)
    return weight, MISSING if bias is None else _summary(
        tensors.place.upload(bias).reshape(-1), tensors.place
    )


def block(pairs: list[tuple[Distribution, Distribution]]) -> Block:
    """Stack all weights, then all biases."""
    rows = [weight for weight, _ in pairs] + [bias for _, bias in pairs]
    return {"moments": np.stack([r.moments for r in rows]), "grid": np.stack([r.grid for r in rows])}


def _summary(values: AnyArray, place: Place) -> Distribution:
    count = len(values)
    ranks = np.rint(QUANTILES * (count - 1)).astype(np.int64)
    ordered = _Large(values) if place.is_host and count > SORTED else _Sorted(place.xp.sort(values), place)
    mean = sum(_total(chunk) for chunk in _chunks(ordered.values)) / count
    variance, third, fourth, magnitude = (total / count for total in _sums(ordered.values, mean))
    std = variance**0.5
    bounds = np.array([-1e-3 * std, 1e-3 * std, mean - 4 * std, mean + 4 * std], np.float32)
    small_low, small_high, low, high = ordered.below(bounds).tolist()
    tiny = np.finfo(np.float64).tiny
    moments = np.array(
        [
            count,
            mean,
            std,
            third / max(std**3, tiny),
            fourth / max(variance**2, tiny) - 3.0,
            magnitude,
            mean * count,
            (small_high - small_low) / count,
            1.0 - (high - low) / count,
        ]
    )
    return Distribution(moments, ordered.at(ranks))


@dataclass(frozen=True, eq=False)
class _Sorted:
    """Values sorted once; everything is read off them, so that their order cannot matter even in rounding."""

    values: AnyArray
    place: Place

    def at(self, ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        return host(self.values[self.place.upload(ranks)])

    def below(self, bounds: NDArray[np.float32]) -> NDArray[np.int64]:
        return host(self.place.xp.searchsorted(self.values, self.place.upload(bounds)))


@dataclass(frozen=True, eq=False)
class _Large:
    """Values that are left where they are mapped: sorting VGG's largest layer would copy 411 MB."""

    values: NDArray[np.float32]

    def at(self, ranks: NDArray[np.int64]) -> NDArray[np.float32]:
        return order_statistics(self.values, ranks)

    def below(self, bounds: NDArray[np.float32]) -> NDArray[np.int64]:
        return count_below(self.values, bounds)


def _sums(values: AnyArray, mean: float) -> tuple[float, float, float, float]:
    """Sums of (x - mean)^2, ^3, ^4 and of |x|, chunk by chunk: VGG's largest layer alone is 411 MB."""
    totals = np.zeros(4)
    for chunk in _chunks(values):
        centred = chunk - mean
        squared = centred * centred
        totals += [_total(part) for part in (squared, squared * centred, squared * squared, abs(chunk))]
    second, third, fourth, magnitude = totals.tolist()
    return second, third, fourth, magnitude


def _chunks(values: AnyArray) -> Iterator[AnyArray]:
    """Views that fit a processor's cache."""
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _total(values: AnyArray) -> float:
    """Sum in float32 over short rows, in float64 over rows: as exact as needed, and several times faster."""
    xp, whole = namespace(values), len(values) // _ROW * _ROW
    rows = xp.sum(xp.sum(values[:whole].reshape(-1, _ROW), axis=1), dtype=xp.float64)
    return float(rows + xp.sum(values[whole:], dtype=xp.float64))
