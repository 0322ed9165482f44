"""One model file to a verdict: read, digested, judged."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.errors import one_line
from weightfeat.rounds.extraction import digest_with_redraws

if TYPE_CHECKING:
    from weightfeat.detector import Detector, Verdict

logger = logging.getLogger(__name__)


def analyse(
    path: Path,
    detector: Detector,
    *,
    device: str = "auto",
    key: str | None = None,
    head: str | None = None,
) -> Verdict:
    """Say how likely the network in `path` is trojaned. Nothing in the file is run; every step is logged, as DEBUG.

    Of weights that were rounded to half precision or less, the interval spans what they may have given before.

    Parameters
    ----------
    detector : learned parameters, their `infer_*` values already in place.
    device : "auto", "cpu" or "cuda", for the digest.
    key, head : which network of the file, and which layer of it, is meant, where there are several.

    Raises
    ------
    WeightfeatError : the file cannot be read, or is no classifier.
    """
    start = time.perf_counter()
    digest, redraws = digest_with_redraws(path, device=device, blocks=detector.reads, key=key, head=head)
    logger.debug(
        "architecture %s (family %s), %d classes", digest.architecture, digest.family, digest.num_classes
    )
    for finding in digest.findings:
        logger.debug("finding: %s", one_line(finding))
    logger.debug("digest %s after %.2f s", digest.key[:16], time.perf_counter() - start)
    verdict = detector.predict(digest)
    intervals = [verdict.interval, *(detector.predict(each).interval for each in redraws)]
    interval = min(low for low, _ in intervals), max(high for _, high in intervals)
    verdict = replace(verdict, interval=interval, path=path, seconds=time.perf_counter() - start)
    for line in _lines(verdict):
        logger.debug(line)
    return verdict


def _lines(verdict: Verdict) -> list[str]:
    """What led to the probability."""
    reasons = ", ".join(f"{name} {effect:+.3f}" for name, effect in verdict.reasons)
    lines = [
        f"reasons: {reasons or 'none'}",
        f"novelty {verdict.novelty:.3f} against {verdict.compared_with}, nearer than it: "
        f"{verdict.nearer:.0%} of the training networks",
    ]
    suspect, (low, high) = verdict.suspect, verdict.interval
    if suspect is not None:
        lines.append(
            f"class most like a target: {suspect.target}, from source {suspect.source}, {suspect.probability:.3f}"
        )
    return [
        *lines,
        f"probability {verdict.probability:.6f} from {len(verdict.features)} features "
        f"after {verdict.seconds:.2f} s",
        f"members of the ensemble range from {low:.6f} to {high:.6f}",
    ]
