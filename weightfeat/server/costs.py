"""What models cost, in few numbers: median with its interval, worst, sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Spread", "spread"]


@dataclass(frozen=True)
class Spread:
    """`median_ci95` are the bounds of an interval that holds the population's median with at least 95 %.

    With fewer than six values no two of them enclose it so surely: the bounds are then the least and the most.
    """

    models: int
    median: float
    median_ci95: tuple[float, float]
    most: float
    sum: float


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of `values`, None where there are none.

    The interval is between two order statistics and supposes no distribution: that many of n independent values lie
    below the median is Binomial(n, 1/2) (David and Nagaraja, Order Statistics, 3rd ed., section 7.1).
    """
    if not values:
        return None
    ordered, count = sorted(values), len(values)
    out = _outside(count)
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return Spread(count, middle, (ordered[out], ordered[-1 - out]), ordered[-1], math.fsum(ordered))


def _outside(count: int) -> int:
    """How many values may be left out at either end: the most k with P(Binomial(count, 1/2) <= k) <= 2.5 %, or 0.

    The interval between the (k+1)th values from both ends misses the median with twice P(B <= k).
    """
    k, exactly, at_most = 0, 1, 1  # outcomes of `count` coin tosses, of 2 ** count
    while 40 * (at_most := at_most + (exactly := exactly * (count - k) // (k + 1))) <= 2**count:
        k += 1
    return k
