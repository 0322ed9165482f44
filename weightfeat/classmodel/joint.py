"""One model of a whole network: clean, or trojaned with one of its classes as the target.

A network of C classes is clean with weight C and has class c as its target with weight exp(score of c), so that

    P(target is c) = exp(s_c) / (C + sum of exp(s)),    odds of a trojan = mean of exp(s).

A regression that asked of every class by itself whether it is a target would count the classes of a clean network as
so many independent witnesses. This one weighs a network as one witness, and adds what is known besides: of a trojaned
network's classes exactly one is the target. `naming` weighs that part, the log-likelihood of the target among the
classes of its own network, against the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.linear import Linear, fit_standard, standardised
from weightfeat.features.summaries import Array

_TOLERANCE = 1e-9


def fit_joint(classes: Sequence[Array], targets: Sequence[int | None], c: float, naming: float) -> Linear:
    """Scores of classes from their rows: (C, columns) a network, with its target's number or None where clean.

    Columns are put on one scale as in `fit_linear`, with the same penalty 1 / (2 c) ||w||^2.
    """
    from scipy.optimize import minimize

    centre, scale = fit_standard(np.concatenate(classes))
    used = scale > 0
    width = np.sqrt(max(int(used.sum()), 1))
    rows = [standardised(part, centre, scale)[:, used] / width for part in classes]
    start = np.zeros(int(used.sum()) + 1)

    def loss(values: Array) -> tuple[float, Array]:
        weights = values[:-1]
        total, gradient = float(weights @ weights) / (2 * c), np.append(weights / c, 0.0)
        for part, target in zip(rows, targets, strict=True):
            value, slope = _network_loss(part @ weights + values[-1], target, naming)
            total += value
            gradient += np.append(part.T @ slope, slope.sum())
        return total, gradient

    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "ftol": 1e-12, "gtol": _TOLERANCE}
    ).x
    coefficient = np.zeros(len(scale))
    coefficient[used] = found[:-1] / width
    return Linear(centre, scale, coefficient, float(found[-1]))


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
