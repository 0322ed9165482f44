"""The TrojAI scorer's figures, and how far the probabilities are from calibrated.

Throughout, `labels` has shape (n,) with 1 for a trojaned model; `probabilities` has shape (n,) or (repeats,
n). A value that is not finite is a missing result and counts as 0.5. With several repeats every figure is the
mean of the repeats' figures, not the figure of the mean probability: averaging would score an ensemble nobody
ships.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

CLIP = 1e-12
MISSING = 0.5
BINS = 10
Z_OF_LEVEL = {90: 1.64, 95: 1.96, 98: 2.33, 99: 2.58}
CONFUSION_HEADER = ("Threshold", "TP", "FP", "FN", "TN", "TPR", "FPR")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def prepare(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Ints, Floats]:
    """Labels (n,) and probabilities (repeats, n), missing results set to 0.5; ValueError on any misfit."""
    y = np.asarray(labels, dtype=np.int64)
    p = np.atleast_2d(np.asarray(probabilities, dtype=np.float64))
    if y.ndim != 1 or p.ndim != 2 or p.shape[1] != y.size or y.size == 0:
        raise ValueError(f"labels {y.shape} and probabilities {p.shape} do not name the same models")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    p = np.where(np.isfinite(p), p, MISSING)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"probabilities must lie in [0, 1], found {p.min()} to {p.max()}")
    return y, p


def elementwise_cross_entropy(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """-(y ln p + (1 - y) ln(1 - p)) a model, in nats, p clipped to [1e-12, 1 - 1e-12]; (n,), mean over repeats."""
    y, p = prepare(labels, probabilities)
    clipped = np.clip(p, CLIP, 1 - CLIP)
    of_truth = np.where(y == 1, clipped, 1 - clipped)
    return _mean_of_repeats(-np.log(of_truth))


def cross_entropy(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean of `elementwise_cross_entropy`."""
    return float(elementwise_cross_entropy(labels, probabilities).mean())


def half_width(values: ArrayLike, level: int = 95) -> float:
    """Half the scorer's confidence interval of a mean: z * population standard deviation / sqrt(n)."""
    v = np.asarray(values, dtype=np.float64)
    return float(Z_OF_LEVEL[level] * v.std() / np.sqrt(v.size))


def cross_entropy_interval(labels: ArrayLike, probabilities: ArrayLike, level: int = 95) -> float:
    """Half-width of the scorer's interval of the cross-entropy; n counts models, however many the repeats."""
    return half_width(elementwise_cross_entropy(labels, probabilities), level)


def elementwise_brier(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """(p - y)^2 a model, p not clipped; (n,), mean over repeats."""
    y, p = prepare(labels, probabilities)
    return _mean_of_repeats(np.square(p - y))


def _mean_of_repeats(values: Floats) -> Floats:
    return np.asarray(values.mean(axis=0), dtype=np.float64)


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean square of p - y (Brier 1950), p not clipped."""
    return float(elementwise_brier(labels, probabilities).mean())


def confusion_table(labels: ArrayLike, probabilities: ArrayLike) -> pd.DataFrame:
    """Counts and rates of `p >= t` at the scorer's 101 thresholds; rates are NaN for an absent class.

    Takes one repeat, shape (n,): counts of several would not be counts of models.
    """
    import pandas as pd

    y, p = prepare(labels, probabilities)
    if len(p) != 1:
        raise ValueError("a confusion table takes one probability a model")
    thresholds = np.arange(0.0, 1.01, 0.01)
    detected = p[0][None, :] >= thresholds[:, None]
    tp, fp = detected[:, y == 1].sum(axis=1), detected[:, y == 0].sum(axis=1)
    positives, negatives = int((y == 1).sum()), int((y == 0).sum())
    columns = (thresholds, tp, fp, positives - tp, negatives - fp, _rate(tp, positives), _rate(fp, negatives))
    return pd.DataFrame(dict(zip(CONFUSION_HEADER, columns, strict=True)))


def _rate(hits: NDArray[np.int64], of: int) -> Floats:
    return hits / of if of else np.full(hits.shape, np.nan)


def roc_auc_scorer(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The scorer's area until late 2023: the trapezoid over its 101 thresholds; NaN with one class."""
    y, p = prepare(labels, probabilities)
    if y.min() == y.max():
        return float("nan")
    areas = []
    for repeat in p:
        table = confusion_table(y, repeat)
        areas.append(-np.trapezoid(table["TPR"].to_numpy(), table["FPR"].to_numpy()))
    return float(np.mean(areas))


def roc_auc(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Area under the ROC curve by scikit-learn's rule: P(trojaned scores higher), ties half; NaN with one class."""
    y, p = prepare(labels, probabilities)
    if y.min() == y.max():
        return float("nan")
    from sklearn.metrics import roc_auc_score

    return float(np.mean([roc_auc_score(y, repeat) for repeat in p]))


def expected_calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> float:
    """Sum over equal-width bins of (share of models) * |mean p - share trojaned| (Guo et al. 2017, eq. 3)."""
    table = reliability_table(labels, probabilities, bins)
    gaps = (table["probability"] - table["trojaned"]).abs() * table["models"]
    return float(gaps.sum() / table["models"].sum())


def reliability_table(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> pd.DataFrame:
    """A row a non-empty bin [low, high) of p: mean probability, share trojaned, models (over all repeats)."""
    import pandas as pd

    y, p = prepare(labels, probabilities)
    truth, scores = np.tile(y, len(p)), p.ravel()
    frame = pd.DataFrame(
        {"bin": bin_numbers(scores, bins), "probability": scores, "trojaned": truth.astype(np.float64)}
    )
    table = frame.groupby("bin").agg(
        probability=("probability", "mean"), trojaned=("trojaned", "mean"), models=("trojaned", "size")
    )
    table.insert(0, "low", table.index.to_numpy() / bins)
    table.insert(1, "high", (table.index.to_numpy() + 1) / bins)
    return table.reset_index(drop=True)


def bin_numbers(probabilities: Floats, bins: int = BINS) -> Ints:
    """Which of equal-width bins [low, high) each probability falls into; 1 falls into the last."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)
