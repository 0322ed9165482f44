"""What the scores of a network's classes and pairs say of the network."""

from __future__ import annotations

import numpy as np

from weightfeat.classmodel.joint import log_odds
from weightfeat.features.summaries import Array, outlier

_NAMES = (
    "largest", "second", "third", "gap", "dixon", "excess", "odds", "entropy", "pair_largest", "pair_gap",
    "pair_any", "joint", "joint_gap", "agreement",
)  # fmt: skip
NAMES = tuple(f"classes.{name}" for name in _NAMES)
ODDS = "classes.odds"


def summarise(scores: Array | None, pairs: Array | None) -> list[float]:
    """`NAMES` from the classes' scores (C,) and the ordered pairs' (C, C); NaN where there is no model or C < 3.

    - largest, second, third, gap: of the sorted scores; dixon, excess: how the largest stands out (`outlier`)
    - odds: the log-odds of a trojan (`joint`); entropy: 1 - entropy(softmax) / log C
    - pair_largest, pair_gap (to the best pair with another target); pair_any: logit of 1 - prod(1 - p) over pairs
    - joint, joint_gap: largest of score + best source's pair score, and its gap; agreement: whether the class
      models name the same target
    """
    if scores is None or len(scores) < 3:
        return [float("nan")] * len(NAMES)
    ordered = np.sort(scores)[::-1]
    dixon, excess, _ = outlier(scores)
    alone = [*ordered[:3], ordered[0] - ordered[1], dixon, excess, log_odds(scores), _concentration(scores)]
    if pairs is None:
        return [*map(float, alone), *[float("nan")] * 6]
    best = best_sources(pairs)[1]
    ranked, joint = np.sort(best)[::-1], np.sort(scores + best)[::-1]
    outside = pairs[~np.eye(len(pairs), dtype=bool)]
    together = [
        ranked[0],
        ranked[0] - ranked[1],
        noisy_or(outside),
        joint[0],
        joint[0] - joint[1],
        float(best.argmax() == scores.argmax()),
    ]
    return [*map(float, alone), *map(float, together)]


def best_sources(pairs: Array) -> tuple[np.ndarray, Array]:
    """For every target its likeliest source, and that pair's score. (C,), (C,)"""
    others = np.where(np.eye(len(pairs), dtype=bool), -np.inf, pairs)
    source = others.argmax(axis=1)
    return source, others[np.arange(len(pairs)), source]


def noisy_or(logits: Array) -> float:
    """Logit of the probability that any of independent events with these logits occurs, within +-30."""
    log_none = -np.logaddexp(0.0, logits).sum()
    return float(np.clip(np.log(-np.expm1(min(log_none, -1e-300))) - log_none, -30, 30))


def _concentration(scores: Array) -> float:
    p = np.exp(scores - scores.max())
    p /= p.sum()
    return float(1 + (p * np.log(np.maximum(p, 1e-300))).sum() / np.log(len(p)))
