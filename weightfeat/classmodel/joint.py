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

from weightfeat.detector.linear import Linear, fit_standard, standardised
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
        """(C,) from a network's rows (C, columns)."""
        coefficient = self.shared + self.own[int(normed)]
        return Linear(self.centre, self.scale, coefficient, self.intercept).raw(classes)


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

    examples = sorted(examples, key=lambda example: example.normed)
    layout = _layout(examples)
    classes = np.concatenate([example.classes for example in examples])
    centre, scale = fit_standard(classes)
    used = scale > 0
    count = int(used.sum())
    width, stretch = np.sqrt(max(count, 1)), np.sqrt(own_c / c)
    rows = standardised(classes, centre, scale)[:, used] / width
    first = sum(len(example.classes) for example in examples if not example.normed)
    populations = rows[:first], rows[first:]

    def loss(values: Array) -> tuple[float, Array]:
        # The own part is stretched so that one penalty serves both.
        shared, *own = values[:-1].reshape(3, count)
        scores = [part @ (shared + stretch * extra) for part, extra in zip(populations, own, strict=True)]
        value, slope = _loss(np.concatenate(scores) + values[-1], layout, naming)
        slopes = slope[:first] @ populations[0], slope[first:] @ populations[1]
        gradient = np.concatenate([slopes[0] + slopes[1], stretch * slopes[0], stretch * slopes[1]])
        penalty = float(values[:-1] @ values[:-1]) / (2 * c)
        return value + penalty, np.append(gradient + values[:-1] / c, slope.sum())

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


@dataclass(frozen=True, eq=False)
class _Layout:
    """How networks' classes lie one after the other: each network's first class and number of classes, whether it is
    trojaned, and, of the trojaned ones, where the target lies."""

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    trojaned: NDArray[np.bool_]
    targets: NDArray[np.int64]


def _layout(examples: Sequence[Example]) -> _Layout:
    counts = np.array([len(example.classes) for example in examples])
    starts = np.cumsum(counts) - counts
    inside = [example.target for example in examples]
    trojaned = np.array([target is not None for target in inside])
    targets = starts[trojaned] + np.array([target for target in inside if target is not None], np.int64)
    return _Layout(starts, counts, trojaned, targets)


def _loss(scores: Array, layout: _Layout, naming: float) -> tuple[float, Array]:
    """Minus log-likelihood of all networks, and its slope for each class's score."""
    trojaned, clean = layout.trojaned, np.log(layout.counts)
    inside = np.logaddexp.reduceat(scores, layout.starts)
    every = np.logaddexp(inside, clean)
    target = scores[layout.targets]
    value = (every - np.where(trojaned, 0.0, clean)).sum() - target.sum()
    value += naming * (inside[trojaned] - target).sum()
    slope = np.exp(scores - np.repeat(every, layout.counts))
    slope += np.repeat(naming * trojaned, layout.counts) * np.exp(scores - np.repeat(inside, layout.counts))
    slope[layout.targets] -= 1 + naming
    return float(value), slope


def _log_sum(scores: Array) -> float:
    return float(np.logaddexp.reduce(scores))
