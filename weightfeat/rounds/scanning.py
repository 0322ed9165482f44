"""One model file to a verdict: digest, features, probability, and what was odd on the way."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.rounds.extraction import digest_file

if TYPE_CHECKING:
    from weightfeat.classmodel import Suspect
    from weightfeat.digest import Digest
    from weightfeat.judge import Judge

logger = logging.getLogger(__name__)

REASONS = 5


@dataclass(frozen=True)
class Verdict:
    """What weightfeat says of one model file.

    `probability` is that of a trojan, in [0, 1], and `interval` its range over the ensemble's members. `reasons`
    are the features that moved the score most, and by how much (log-odds, before calibration). `novelty` is the
    distance to the training population, about 1 within it, and `nearer` the share of its networks that lie nearer,
    each judged by the others; `compared_with` says whether that held networks of its
    "architecture", of its "family" only, or neither ("pool"). `suspect` is the class most like a trojan's target,
    whatever the probability. `features` is the named row that all of it came from (NaN where undefined). `seconds`
    is wall time, reading included.
    """

    path: Path
    probability: float
    interval: tuple[float, float]
    architecture: str
    num_classes: int
    findings: tuple[str, ...]
    reasons: tuple[tuple[str, float], ...]
    novelty: float
    nearer: float
    compared_with: str
    suspect: Suspect | None
    seconds: float
    features: Mapping[str, float]


def analyse(
    path: Path,
    judge: Judge,
    *,
    device: str = "auto",
) -> Verdict:
    """Say how likely the network in `path` is trojaned. Nothing in the file is run; every step is logged, as DEBUG.

    Parameters
    ----------
    judge : learned parameters, their `infer_*` values already in place.
    device : "auto", "cpu" or "cuda", for the digest.

    Raises
    ------
    WeightfeatError : the file cannot be read, or is no classifier.
    """
    start = time.perf_counter()
    digest, _ = digest_file(path, device=device, blocks=judge.reads)
    logger.debug(
        "architecture %s (family %s), %d classes", digest.architecture, digest.family, digest.num_classes
    )
    for finding in digest.findings:
        logger.debug("finding: %s", finding)
    logger.debug("digest %s after %.2f s", digest.key[:16], time.perf_counter() - start)
    return judged(path, digest, judge, start=start)


def judged(
    path: Path,
    digest: Digest,
    judge: Judge,
    *,
    start: float,
) -> Verdict:
    """The verdict on a digest; `start` is the `perf_counter` at which its reading began."""
    row, suspect, odds = judge.row(digest)
    detector = judge.detector
    population = {"architecture": [digest.architecture], "family": [digest.family]}
    probability = float(detector.predict_proba(row, **population)[0, 1])
    low, high = judge.interval(digest, row, odds)
    novelty = detector.novelty(row, **population)
    reasons = tuple(detector.reasons(row, REASONS, **population))
    seconds = time.perf_counter() - start
    logger.debug("reasons: %s", ", ".join(f"{name} {effect:+.3f}" for name, effect in reasons) or "none")
    logger.debug(
        "novelty %.3f against %s, nearer than it: %.0f%% of the training networks",
        *(novelty.distance[0], novelty.level[0], 100 * novelty.quantile[0]),
    )
    if suspect is not None:
        logger.debug(
            "class most like a target: %s, from source %s, %.3f",
            *(suspect.target, suspect.source, suspect.probability),
        )
    logger.debug("probability %.6f from %d features after %.2f s", probability, len(row), seconds)
    logger.debug("members of the ensemble range from %.6f to %.6f", low, high)
    return Verdict(
        path=path,
        probability=probability,
        interval=(low, high),
        architecture=digest.architecture,
        num_classes=digest.num_classes,
        findings=digest.findings,
        reasons=reasons,
        novelty=float(novelty.distance[0]),
        nearer=float(novelty.quantile[0]),
        compared_with=novelty.level[0],
        suspect=suspect,
        seconds=seconds,
        features=row,
    )
