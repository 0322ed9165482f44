"""One model of a whole network: clean, or trojaned with one of its classes as the target.

A network of C classes is clean with weight C and has class c as its target with weight exp(score of c), so that

    P(target is c) = exp(s_c) / (C + sum of exp(s)),    odds of a trojan = mean of exp(s).

A regression that asked of every class by itself whether it is a target would count the classes of a clean network as
so many independent witnesses. This one weighs a network as one witness, and adds what is known besides: of a trojaned
network's classes exactly one is the target.

A score is a sum over statistics and their signed squares: a class that stands out far in one statistic may be more, or
less, than twice as suspect as one that stands out half as far.

A network with several triggers may have several targets. It still is one witness: each of its targets is as large a
part of it.

One statistic speaks differently in different groups of networks. A coefficient is therefore a part that all share and a
part of its own for every group that a network is in (partial pooling; Gelman and Hill 2007, chapter 12), each with its
prior variance. `models` says which groups there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.linear import Linear, fit_standard, standardised
from weightfeat.features.summaries import Array

Groups = tuple[bool, ...]
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Joint:
    """Scores of classes. Vectors of one entry a statistic and then one a square; `own` is (groups, entries).

    `centre` and `scale` put columns on one scale as in `Linear`; a `scale` of 0 drops a constant column.
    """

    centre: Array
    scale: Array
    shared: Array
    own: Array
    intercept: float

    def scores(self, classes: Array, groups: Groups) -> Array:
        """(C,) from a network's rows (C, statistics); `groups` marks those it is in."""
        coefficient = self.shared + self.own[list(groups)].sum(axis=0)
        return Linear(self.centre, self.scale, coefficient, self.intercept).raw(with_squares(classes))


@dataclass(frozen=True, eq=False)
class Example:
    """A network to learn from: rows (C, statistics), a mark for every group it is in, its targets; none: clean."""

    classes: Array
    groups: Groups
    targets: tuple[int, ...] = ()


def with_squares(classes: Array) -> Array:
    """(C, 2 statistics): every value, then x |x| of every value."""
    return np.hstack([classes, classes * np.abs(classes)])


def fit_joint(examples: Sequence[Example], c: float, own: Sequence[float], squares: float) -> Joint:
    """Learn from labelled networks.

    `c` and `own`, one a group, are the prior variances of what the shared and the groups' own coefficients add to a
    standard row's score, whatever the number of columns: columns are made to add up to one. A square has `squares`
    times the prior variance of a statistic; 0: none are used.
    """
    from scipy.optimize import minimize

    examples = sorted(examples, key=lambda example: example.groups)
    layout = _layout(examples)
    classes = with_squares(np.concatenate([example.classes for example in examples]))
    centre, scale = fit_standard(classes)
    weight = np.repeat([1.0, np.sqrt(squares)], classes.shape[1] // 2)
    used = (scale > 0) & (weight > 0)
    weight = weight[used] / np.sqrt(max(float((weight[used] ** 2).sum()), 1.0))
    count, stretch = len(weight), np.sqrt(np.array([1.0, *(each / c for each in own)]))
    rows = standardised(classes, centre, scale)[:, used] * weight
    parts, mixing = _by_groups(examples)
    mixing = mixing * stretch  # so that one penalty serves all

    def loss(values: Array) -> tuple[float, Array]:
        coefficients = mixing @ values[:-1].reshape(len(stretch), count)
        scores = [rows[part] @ each for part, each in zip(parts, coefficients, strict=True)]
        value, slope = _loss(np.concatenate(scores) + values[-1], layout)
        gradient = mixing.T @ np.stack([slope[part] @ rows[part] for part in parts])
        penalty = float(values[:-1] @ values[:-1]) / (2 * c)
        return value + penalty, np.append(gradient.ravel() + values[:-1] / c, slope.sum())

    found = minimize(
        loss,
        np.zeros(len(stretch) * count + 1),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "ftol": 1e-12, "gtol": _TOLERANCE},
    ).x
    coefficients = np.zeros((len(stretch), len(scale)))
    coefficients[:, used] = stretch[:, None] * found[:-1].reshape(len(stretch), count) * weight
    return Joint(centre, scale, coefficients[0], coefficients[1:], float(found[-1]))


def _by_groups(examples: Sequence[Example]) -> tuple[list[slice], Array]:
    """Where the rows of networks in the same groups lie, and what their coefficients are made of: the shared part and
    every group's own, (parts, 1 + groups)."""
    lengths: dict[Groups, int] = {}
    for example in examples:
        lengths[example.groups] = lengths.get(example.groups, 0) + len(example.classes)
    ends = np.cumsum(list(lengths.values())).tolist()
    parts = [slice(end - length, end) for end, length in zip(ends, lengths.values(), strict=True)]
    return parts, np.array([(True, *groups) for groups in lengths], dtype=np.float64)


def log_odds(scores: Array) -> float:
    """Log-odds of a trojan from the scores of all classes (C,): the log of their mean exponential."""
    return _log_sum(scores) - float(np.log(len(scores)))


def target_probabilities(scores: Array) -> Array:
    """P(target is c) for every class, (C,); what is missing to 1 is that of a clean network."""
    return np.asarray(np.exp(scores - np.logaddexp(_log_sum(scores), np.log(len(scores)))))


@dataclass(frozen=True, eq=False)
class _Layout:
    """How networks' classes lie one after the other: each network's first class and number of classes, whether it is
    trojaned, and, of the trojaned ones, where the targets lie and how large a part of its network each is."""

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    trojaned: NDArray[np.bool_]
    targets: NDArray[np.int64]
    parts: Array


def _layout(examples: Sequence[Example]) -> _Layout:
    counts = np.array([len(example.classes) for example in examples])
    starts = np.cumsum(counts) - counts
    inside = [(start, set(example.targets)) for start, example in zip(starts, examples, strict=True)]
    targets = np.array([start + target for start, own in inside for target in sorted(own)], np.int64)
    parts = np.array([1 / len(own) for _, own in inside for _ in own], np.float64)
    return _Layout(starts, counts, np.array([bool(own) for _, own in inside]), targets, parts)


def _loss(scores: Array, layout: _Layout) -> tuple[float, Array]:
    """Minus log-likelihood of all networks, each clean or with its target, and its slope for each class's score.

    Of a network with several targets it is the mean over them.
    """
    trojaned, clean = layout.trojaned, np.log(layout.counts)
    every = np.logaddexp(np.logaddexp.reduceat(scores, layout.starts), clean)
    value = every.sum() - clean[~trojaned].sum() - (layout.parts * scores[layout.targets]).sum()
    slope = np.exp(scores - np.repeat(every, layout.counts))
    slope[layout.targets] -= layout.parts
    return float(value), slope


def _log_sum(scores: Array) -> float:
    return float(np.logaddexp.reduce(scores))
