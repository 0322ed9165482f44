"""What models cost, in few numbers: median with its interval, worst, sum."""

from __future__ import annotations

import math
import statistics
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

    The interval is between two order statistics and supposes no distribution (`scipy.stats.quantile_test`).
    """
    if not values:
        return None
    from scipy.stats import quantile_test

    ordered, interval = sorted(values), quantile_test(values).confidence_interval(0.95)
    bounds = (
        ordered[0] if math.isnan(interval.low) else float(interval.low),
        ordered[-1] if math.isnan(interval.high) else float(interval.high),
    )
    return Spread(len(ordered), statistics.median(ordered), bounds, ordered[-1], math.fsum(ordered))
