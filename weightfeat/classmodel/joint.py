"""One model of a whole network: clean, or trojaned with one of its classes as the target.

A network of C classes is clean with weight C and has class c as its target with weight exp(score of c), so that

    P(target is c) = exp(s_c) / (C + sum of exp(s)),    odds of a trojan = mean of exp(s).

A regression that asked of every class by itself whether it is a target would count the classes of a clean network as
so many independent witnesses. This one weighs a network as one witness, and adds what is known besides: of a trojaned
network's classes exactly one is the target. `naming` weighs that part, the log-likelihood of the target among the
classes of its own network, against the rest.

Networks come in two populations, those whose head a batch norm feeds and those without: what is known of the head's
inputs is a law of the training data in the first and a guess in the second, so that one statistic speaks differently in
each. A coefficient is therefore a part that all share and a part of the population's own (partial pooling; Gelman and
Hill 2007, chapter 12), each with its prior variance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.linear import fit_standard, standardised
from weightfeat.features.summaries import Array

_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Joint:
    """Scores of classes. Vectors of one entry a column; `own` is (2, columns), without a batch norm first.

    `centre` and `scale` put columns on one scale as in `Linear`; a `scale` of 0 drops a constant column.
    """

    centre: Array
    scale: Array
    shared: Array
    own: Array
    intercept: float

    def scores(self, classes: Array, normed: bool) -> Array:
        """(C,) from a network's rows (C, columns). Summed row by row, as in `Linear.raw`."""
        coefficient = self.shared + self.own[int(normed)]
        parts = coefficient * standardised(classes, self.centre, self.scale)
        return np.asarray(np.ascontiguousarray(parts).sum(axis=1) + self.intercept)


@dataclass(frozen=True, eq=False)
class Example:
    """A network to learn from: rows (C, columns), whether a batch norm feeds its head, its target; None: clean."""

    classes: Array
    normed: bool
    target: int | None


def fit_joint(examples: Sequence[Example], c: float, own_c: float, naming: float) -> Joint:
    """Learn from labelled networks.

    Rows are divided by sqrt(columns), so that `c` and `own_c` are the prior variances of what the shared and the own
    coefficients add to a standard row's score, whatever the number of columns.
    """
    from scipy.optimize import minimize

    centre, scale = fit_standard(np.concatenate([example.classes for example in examples]))
    used = scale > 0
    count = int(used.sum())
    width, stretch = np.sqrt(max(count, 1)), np.sqrt(own_c / c)
    rows = [standardised(example.classes, centre, scale)[:, used] / width for example in examples]

    def loss(values: Array) -> tuple[float, Array]:
        # The own part is stretched so that one penalty serves both.
        weights = values[:-1].reshape(3, count)
        total, slopes, shift = float((weights**2).sum()) / (2 * c), weights / c, 0.0
        for part, example in zip(rows, examples, strict=True):
            at = 1 + int(example.normed)
            scores = part @ (weights[0] + stretch * weights[at]) + values[-1]
            value, slope = _network_loss(scores, example.target, naming)
            gradient = slope @ part
            total += value
            slopes[0] += gradient
            slopes[at] += stretch * gradient
            shift += slope.sum()
        return total, np.append(slopes.ravel(), shift)

    found = minimize(
        loss,
        np.zeros(3 * count + 1),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "ftol": 1e-12, "gtol": _TOLERANCE},
    ).x
    coefficients = np.zeros((3, len(scale)))
    coefficients[:, used] = found[:-1].reshape(3, count) / width
    return Joint(centre, scale, coefficients[0], stretch * coefficients[1:], float(found[-1]))


def log_odds(scores: Array) -> float:
    """Log-odds of a trojan from the scores of all classes (C,): the log of their mean exponential."""
    return _log_sum(scores) - float(np.log(len(scores)))


def target_probabilities(scores: Array) -> Array:
    """P(target is c) for every class, (C,); what is missing to 1 is that of a clean network."""
    return np.asarray(np.exp(scores - np.logaddexp(_log_sum(scores), np.log(len(scores)))))


def _network_loss(scores: Array, target: int | None, naming: float) -> tuple[float, NDArray[np.float64]]:
    """Minus log-likelihood of one network, and its slope for each class's score."""
    clean, inside = np.log(len(scores)), _log_sum(scores)
    every = np.logaddexp(inside, clean)
    slope = np.exp(scores - every)
    if target is None:
        return float(every - clean), slope
    slope += naming * np.exp(scores - inside)
    slope[target] -= 1 + naming
    return float(every - scores[target] + naming * (inside - scores[target])), slope


def _log_sum(scores: Array) -> float:
    return float(np.logaddexp.reduce(scores))
