"""Learning a detector from labelled networks, and keeping it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from weightfeat import features
from weightfeat.detector import Detector, Samples
from weightfeat.learning.running import workers
from weightfeat.metaparameters import Metaparameters

logger = logging.getLogger(__name__)


def learn(
    samples: Samples, params: Metaparameters, learned: Path, *, beside: Samples | None = None, jobs: int = 1
) -> Detector:
    """Fit on all samples and save it; the folder's old content stays usable until the end.

    `beside` are networks of other recipes: see `Detector`. What the calibration's folds scored on the models they had
    not seen is kept with it.

    Raises
    ------
    WeightfeatError : too few models, or a folder that cannot be written to.
    """
    if params.train_class_evidence:
        named = sum(target is not None for target in samples.targets)
        logger.info("learning classes: %d networks name their target", named)
    counts = len(samples), int(samples.y.sum()), len(features.names(params.blocks))
    logger.info("learning: %d models, %d poisoned, %d features", *counts)
    detector = Detector(params, beside=beside, threads=workers(jobs)).fit(samples)
    scores = _out_of_fold_scores(detector, samples.y.tolist())
    shown = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    logger.info("out of fold: %s", shown or "no folds")
    detector.save(learned, scores)
    logger.info("learned parameters saved in %s", learned)
    return detector


def _out_of_fold_scores(detector: Detector, labels: Sequence[int]) -> dict[str, float]:
    """Metrics of the calibrated out-of-fold probabilities; a little kind, since calibration saw all of them."""
    from weightfeat.evaluation import metrics

    probability = detector.out_of_fold_.probability
    if probability is None:
        return {}
    return {
        "cross_entropy": metrics.cross_entropy(labels, probability),
        "brier": metrics.brier(labels, probability),
        "roc_auc": metrics.roc_auc(labels, probability),
    }
