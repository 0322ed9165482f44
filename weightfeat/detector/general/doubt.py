"""What is not known of a recipe: how much a logit is off from level to level of what networks were made with.

The logits are of networks whose origin was left out of learning. Each factor (data, architecture, trigger, ...) has
levels, and each level a shift that would make its logits right on average. What these shifts differ by beyond chance is
the variance of a random effect (DerSimonian and Laird 1986, doi:10.1016/0197-2456(86)90046-2). A network that somebody
else made is of an unknown level of every factor: the variances add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from weightfeat.features.summaries import Array

__all__ = ["LEAST_DOUBT", "UNKNOWN_DOUBT", "doubt_between"]

LEAST_DOUBT = 0.2
"""Standard deviation of the log-odds' shift that no two recipes are believed to be nearer than."""
UNKNOWN_DOUBT = 1.0
"""The same where no factor has two levels to compare."""
_MOST_SHIFT = 5.0


def doubt_between(
    logit: Array,
    y: NDArray[np.int64],
    groups: Sequence[str],
    factors: Mapping[str, Sequence[str]],
) -> float:
    """Standard deviation of the shift of a network that is of an unknown level of every factor.

    Parameters
    ----------
    logit, y : (n,), out of fold, and labels.
    groups : of each network, what it was drawn with: the two of a pair.
    factors : by name the level of each network.
    """
    dispersion = _dispersion(logit, y, groups)
    found = [_between(logit, y, np.array(levels), dispersion) for levels in factors.values()]
    known = [variance for variance in found if variance is not None]
    if not known:
        return UNKNOWN_DOUBT
    return float(np.sqrt(max(sum(known), LEAST_DOUBT**2)))


def _between(logit: Array, y: NDArray[np.int64], levels: NDArray[np.str_], dispersion: float) -> float | None:
    """Variance from level to level of one factor, not below 0; None where it has one level alone."""
    names = sorted(set(levels.tolist()))
    if len(names) < 2:
        return None
    shifts, errors = np.array([_shift(logit[levels == name], y[levels == name]) for name in names]).T
    weight = 1 / (dispersion * np.square(errors))
    mean = float((weight * shifts).sum() / weight.sum())
    excess = float((weight * np.square(shifts - mean)).sum()) - (len(names) - 1)
    return max(excess / float(weight.sum() - np.square(weight).sum() / weight.sum()), 0.0)


def _dispersion(logit: Array, y: NDArray[np.int64], groups: Sequence[str]) -> float:
    """By how much less than coins whole groups scatter: a pair has one of each label, whatever is said of it."""
    p = 1 / (1 + np.exp(-logit))
    _, group = np.unique(np.array(groups), return_inverse=True)
    of_group = np.bincount(group, y - p)
    return float(np.square(of_group).sum() / max(float((p * (1 - p)).sum()), 1.0))


def _shift(logit: Array, y: NDArray[np.int64]) -> tuple[float, float]:
    """What is to be added to these logits to make them right on average, and its standard error, were labels coins."""
    shift = 0.0
    for _ in range(30):
        p = 1 / (1 + np.exp(-(logit + shift)))
        slope = float((p * (1 - p)).sum()) + 1.0  # a weak pull to no shift
        shift = float(np.clip(shift + (float((y - p).sum()) - shift) / slope, -_MOST_SHIFT, _MOST_SHIFT))
    return shift, 1 / np.sqrt(slope)
