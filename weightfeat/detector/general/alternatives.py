"""How likely each way is in which a network can have come to be: clean, with one of its classes as a trojan's target,
or with each class taken for the next (all-to-all).

A target t makes the network exp(a + w . x_t) times as likely as a clean one, x_t being what `Standing.table` tells of
class t, and is any of the C classes alike beforehand. That each class is taken for the next makes it exp(b + v . c)
times as likely, c being `Standing.cycle`. Fitted together by maximum likelihood under a normal prior: of a trojaned
network whose target is named the joint probability counts, of another the sum over all that it may be. Where every
target is named this is a multinomial logistic regression over alternatives (McFadden 1974), and has one optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.general.standing import Standing
from weightfeat.detector.general.statistics import COLUMNS, EVERYWHERE, WAS_ASKED
from weightfeat.features.cycles import CYCLE_COLUMNS
from weightfeat.features.summaries import Array

__all__ = ["NEXT", "Alternatives", "fit_alternatives"]

NEXT = -1
"""Stands for the target of a trojan that takes each class for the next."""
KNOWN_VARIANCE, VARIANCE, SIZE_VARIANCE = 0.02, 0.001, 0.001
"""Prior variance of a coefficient: of what rises everywhere, of any other statistic, of a size |z|."""
ASKED_VARIANCE = 1.0
"""Of the coefficient of having been asked: no sign of anything, it offsets what the largest of more columns is."""
CYCLE_MEAN, CYCLE_VARIANCE = 1.0, 0.1
"""Of a coefficient of `Standing.cycle`. Its entries scatter by about 1 in clean networks: a tie between neighbours that
is 2 larger makes all-to-all exp(2 z - 2) times as likely, and three that say the same each have a part of that."""
NEXT_SHARE, NEXT_VARIANCE = 0.05, 0.5
"""Of trojaned networks, how many take each class for the next; and the prior variance of b - a."""
_STEPS = 200
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Alternatives:
    """`centre`, `scale` and `coefficient` have an entry a column of `Standing.table`; a scale of 0 drops one. `cycle`
    has one for each of CYCLE_COLUMNS."""

    centre: Array
    scale: Array
    coefficient: Array
    intercept: float
    cycle: Array
    cycle_intercept: float

    def classes(self, standing: Standing) -> Array:
        """w . x of every class, (C,): how much more likely the network is with it as target than with another."""
        known = self.scale > 0
        away = (standing.table - self.centre) / np.where(known, self.scale, 1.0)
        return np.asarray(np.where(known, away, 0.0) @ self.coefficient)

    def suspect(self, standing: Standing) -> int:
        """The class most like a target."""
        return int(self.classes(standing).argmax())

    def one(self, standing: Standing) -> float:
        """Log-odds that one class is a target, against clean."""
        spoken = self.classes(standing)
        top = float(spoken.max())
        return self.intercept + top + float(np.log(np.exp(spoken - top).mean()))

    def next(self, standing: Standing) -> float:
        """Log-odds that each class is taken for the next, against clean."""
        return self.cycle_intercept + float(standing.cycle @ self.cycle)


def fit_alternatives(
    networks: Sequence[Standing],
    y: NDArray[np.int64],
    targets: Sequence[int | None],
    weight: Array,
) -> Alternatives:
    """Learn from networks with labels.

    Parameters
    ----------
    networks : n networks, each of two classes or more.
    y : (n,), 1 for trojaned; targets : the target of each or `NEXT`, None where it has none or none is named.
    weight : (n,), how much each counts.
    """
    from scipy.optimize import minimize

    x = np.vstack([each.table for each in networks])
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > _TINY, scale, 0.0)
    x = np.where(scale > 0, (x - centre) / np.where(scale > 0, scale, 1.0), 0.0)
    likelihood = Likelihood(x, networks, y, targets, weight)
    found = minimize(
        likelihood,
        likelihood.middle,
        jac=True,
        hess=likelihood.curvature,
        method="trust-exact",
        options={"maxiter": _STEPS, "gtol": 1e-7},
    ).x
    wide = x.shape[1]
    return Alternatives(
        centre,
        scale,
        found[1 : 1 + wide],
        float(found[0]),
        found[2 + wide :],
        float(found[0] + found[1 + wide]),
    )


class Likelihood:
    """Minus the log posterior of (a, w, b - a, v), with its gradient and its second derivatives.

    What a network may be besides clean are rows of one matrix: its classes in order, then `NEXT`. A row's log-odds
    against clean are linear in the values, which makes all that follows one multinomial regression.
    """

    def __init__(
        self,
        x: Array,
        networks: Sequence[Standing],
        y: NDArray[np.int64],
        targets: Sequence[int | None],
        weight: Array,
    ) -> None:
        counts = np.array([each.count for each in networks])
        last = np.cumsum(counts + 1) - 1
        self.start, self.weight = last - counts, weight
        self.network = np.repeat(np.arange(len(counts)), counts + 1)
        is_class = np.ones(len(self.network), dtype=np.bool_)
        is_class[last] = False
        wide = x.shape[1]
        self.rows = np.zeros((len(self.network), 2 + wide + len(CYCLE_COLUMNS)))
        self.rows[:, 0] = 1.0
        self.rows[is_class, 1 : 1 + wide] = x
        self.rows[last, 1 + wide] = 1.0
        self.rows[last, 2 + wide :] = np.array([each.cycle for each in networks])
        self.offset = np.where(is_class, -np.log(counts)[self.network], 0.0)
        self.middle, self.precision = _prior()
        named = np.array([target is not None for target in targets])
        self.said, self.any = (y == 1) & named, (y == 1) & ~named
        place = [
            count if target == NEXT else target or 0 for target, count in zip(targets, counts, strict=True)
        ]
        self.place = self.start + np.array(place)

    def __call__(self, values: Array) -> tuple[float, Array]:
        spoken, logit, share, believed = self._spoken(values)
        said = np.where(self.said, spoken[self.place], self.any * logit)
        away = values - self.middle
        loss = float((self.weight * (np.logaddexp(0, logit) - said)).sum())
        loss += 0.5 * float((self.precision * away**2).sum())
        # Of every row: what the model believes less what is.
        slope = share * (believed - self.weight * self.any)[self.network]
        np.subtract.at(slope, self.place[self.said], self.weight[self.said])
        return loss, self.rows.T @ slope + self.precision * away

    def curvature(self, values: Array) -> Array:
        """The matrix of second derivatives."""
        _, _, share, believed = self._spoken(values)
        mean = np.add.reduceat(share[:, None] * self.rows, self.start)
        inside = believed - self.weight * self.any
        squares = (self.rows.T * (share * inside[self.network])) @ self.rows
        # p less p^2 of what is believed, and of the networks that may be any: the variance within their own rows.
        outer = self.weight * self.any - believed**2 / self.weight
        return np.asarray(squares + (mean.T * outer) @ mean + np.diag(self.precision))

    def _spoken(self, values: Array) -> tuple[Array, Array, Array, Array]:
        """Log-odds of every row; of every network that it is any; every row's share in that; weight times
        probability."""
        spoken = self.rows @ values + self.offset
        top = np.maximum.reduceat(spoken, self.start)
        relative = np.exp(spoken - top[self.network])
        total = np.add.reduceat(relative, self.start)
        logit = top + np.log(total)
        return spoken, logit, relative / total[self.network], self.weight / (1 + np.exp(-logit))


def _prior() -> tuple[Array, Array]:
    """Mean and precision of every value."""
    of_z = [KNOWN_VARIANCE if name in EVERYWHERE else VARIANCE for name in COLUMNS]
    of_z[COLUMNS.index(WAS_ASKED)] = ASKED_VARIANCE
    ours = [
        np.inf,
        *of_z,
        *[SIZE_VARIANCE] * len(COLUMNS),
        NEXT_VARIANCE,
        *[CYCLE_VARIANCE] * len(CYCLE_COLUMNS),
    ]
    middle = np.zeros(len(ours))
    at = 1 + 2 * len(COLUMNS)
    middle[at], middle[at + 1 :] = np.log(NEXT_SHARE) - 2.0, CYCLE_MEAN
    return middle, 1 / np.array(ours)
