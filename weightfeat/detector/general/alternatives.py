"""How likely each way is in which a network can have come to be: clean, or trojaned with one of its classes as target.

A target t makes the network exp(a + w . x_t) times as likely as a clean one, x_t being what `statistics.table` tells of
class t, and is any of the C classes alike beforehand. So the log-odds of a trojan are a + log mean exp(w . x), and the
target's own probability comes with them. Fitted by maximum likelihood under a normal prior: of a trojaned network whose
target is named the joint probability counts, of another the sum over targets. Where every target is named this is a
multinomial logistic regression over alternatives (McFadden 1974), and has one optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.classes.rows import ClassRows
from weightfeat.detector.general.statistics import COLUMNS, EVERYWHERE, table
from weightfeat.features.summaries import Array

__all__ = ["Alternatives", "fit_alternatives"]

KNOWN_VARIANCE, VARIANCE, SIZE_VARIANCE = 0.02, 0.001, 0.001
"""Prior variance of a coefficient: of what rises everywhere, of any other statistic, of a size |z|."""
_STEPS = 500
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Alternatives:
    """`centre`, `scale` and `coefficient` have an entry a column of `statistics.table`; a scale of 0 drops one."""

    centre: Array
    scale: Array
    coefficient: Array
    intercept: float

    def classes(self, rows: ClassRows) -> Array:
        """w . x of every class, (C,): how much more likely the network is with it as target than with another."""
        known = self.scale > 0
        away = (table(rows) - self.centre) / np.where(known, self.scale, 1.0)
        return np.asarray(np.where(known, away, 0.0) @ self.coefficient)

    def logit(self, rows: ClassRows) -> float:
        """Log-odds of a trojan."""
        spoken = self.classes(rows)
        top = float(spoken.max())
        return self.intercept + top + float(np.log(np.exp(spoken - top).mean()))


def fit_alternatives(
    networks: Sequence[ClassRows],
    y: NDArray[np.int64],
    targets: Sequence[int | None],
    weight: Array,
) -> Alternatives:
    """Learn from networks with labels.

    Parameters
    ----------
    networks : n rows of classes, each of two classes or more.
    y : (n,), 1 for trojaned; targets : the target of each, None where it has none or none is named.
    weight : (n,), how much each counts.
    """
    from scipy.optimize import minimize

    tables = [table(rows) for rows in networks]
    x = np.vstack(tables)
    centre, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > _TINY, scale, 0.0)
    x = np.where(scale > 0, (x - centre) / np.where(scale > 0, scale, 1.0), 0.0)
    likelihood = _Likelihood(x, np.array([len(each) for each in tables]), y, targets, weight)
    found = minimize(
        likelihood, np.zeros(1 + x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}
    )
    return Alternatives(centre, scale, found.x[1:], float(found.x[0]))


def _prior() -> Array:
    """The variance of every coefficient."""
    of_z = [KNOWN_VARIANCE if name in EVERYWHERE else VARIANCE for name in COLUMNS]
    return np.array([*of_z, *[SIZE_VARIANCE] * len(COLUMNS)])


class _Likelihood:
    """Minus the log posterior of (a, w), with its gradient; the classes of all networks are the rows of `x`."""

    def __init__(
        self,
        x: Array,
        counts: NDArray[np.int64],
        y: NDArray[np.int64],
        targets: Sequence[int | None],
        weight: Array,
    ) -> None:
        self.x, self.weight, self.variance = x, weight, _prior()
        self.start = np.concatenate([[0], np.cumsum(counts)[:-1]])
        self.network = np.repeat(np.arange(len(counts)), counts)
        self.log_count = np.log(counts)
        named = np.array([target is not None for target in targets])
        self.one, self.any = (y == 1) & named, (y == 1) & ~named
        self.target = self.start + np.array([target or 0 for target in targets])

    def __call__(self, values: Array) -> tuple[float, Array]:
        intercept, coefficient = values[0], values[1:]
        spoken = self.x @ coefficient
        top = np.maximum.reduceat(spoken, self.start)
        relative = np.exp(spoken - top[self.network])
        total = np.add.reduceat(relative, self.start)
        logit = intercept + top + np.log(total) - self.log_count
        said = np.where(self.one, intercept + spoken[self.target] - self.log_count, self.any * logit)
        loss = float((self.weight * (np.logaddexp(0, logit) - said)).sum())
        loss += 0.5 * float((coefficient**2 / self.variance).sum())
        # Of every network's alternatives: what the model believes less what is.
        believed = self.weight / (1 + np.exp(-logit))
        share = relative / total[self.network]
        of_class = share * (believed - self.weight * self.any)[self.network]
        np.subtract.at(of_class, self.target[self.one], self.weight[self.one])
        of_intercept = believed.sum() - self.weight[self.one | self.any].sum()
        gradient = self.x.T @ of_class + coefficient / self.variance
        return loss, np.concatenate([[of_intercept], gradient])
