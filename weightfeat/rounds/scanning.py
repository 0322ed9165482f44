"""One model file to a verdict: digest, features, probability, and what was odd on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightfeat.rounds.extraction import digest_file

if TYPE_CHECKING:
    from weightfeat.classmodel import Suspect
    from weightfeat.digest import Digest
    from weightfeat.judge import Judge

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
    log: Callable[[str], None] = lambda line: None,
) -> Verdict:
    """Say how likely the network in `path` is trojaned. Nothing in the file is run.

    Parameters
    ----------
    judge : learned parameters, their `infer_*` values already in place.
    device : "auto", "cpu" or "cuda", for the digest.
    log : receives one line a step.

    Raises
    ------
    WeightfeatError : the file cannot be read, or is no classifier.
    """
    start = time.perf_counter()
    digest, _ = digest_file(path, device=device, blocks=judge.reads)
    log(f"architecture {digest.architecture} (family {digest.family}), {digest.num_classes} classes")
    for finding in digest.findings:
        log(f"finding: {finding}")
    log(f"digest {digest.key[:16]} after {time.perf_counter() - start:.2f} s")
    return judged(path, digest, judge, start=start, log=log)


def judged(
    path: Path,
    digest: Digest,
    judge: Judge,
    *,
    start: float,
    log: Callable[[str], None] = lambda line: None,
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
    log(f"reasons: {', '.join(f'{name} {effect:+.3f}' for name, effect in reasons) or 'none'}")
    log(
        f"novelty {novelty.distance[0]:.3f} against {novelty.level[0]}, nearer than it: "
        f"{novelty.quantile[0]:.0%} of the training networks"
    )
    if suspect is not None:
        log(
            f"class most like a target: {suspect.target}, from source {suspect.source}, {suspect.probability:.3f}"
        )
    log(f"probability {probability:.6f} from {len(row)} features after {seconds:.2f} s")
    log(f"members of the ensemble range from {low:.6f} to {high:.6f}")
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
