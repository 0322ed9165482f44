"""One digest before what was learned: what it is judged by, and all that is said of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from weightfeat import features
from weightfeat.detector.background import Background
from weightfeat.detector.calibration import sigmoid
from weightfeat.detector.classes.models import FEWEST_CLASSES, ClassEvidence, Suspect
from weightfeat.detector.general.model import GENERAL
from weightfeat.detector.general.statistics import TOGETHER, together
from weightfeat.detector.kinds import Kind
from weightfeat.detector.learned import ODDS, Learned
from weightfeat.detector.local import Local, LocalKind
from weightfeat.detector.novelty import Novelty
from weightfeat.detector.samples import Network, Rows
from weightfeat.detector.verdict import Verdict
from weightfeat.detector.words import word_of

if TYPE_CHECKING:
    from weightfeat.digest import Digest

__all__ = ["Seen", "background", "see", "verdict"]

REASONS = 5
DOUBT = "doubt: "
"""What a finding begins with that says why a digest may not be of the network that computes."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What one network is judged by.

    Attributes
    ----------
    row : every named number; rows : those that trees and population read.
    evidence : what its classes say; None where no class model was learned.
    general : logit of the general model, (1,); None without one.
    foreign : whether more of its probability is the general model's than the population's.
    kind, logit : the networks it is measured against, and its calibrated log-odds beside theirs.
    """

    network: Network
    row: dict[str, float]
    rows: Rows
    evidence: ClassEvidence | None
    novelty: Novelty
    general: NDArray[np.float64] | None
    foreign: bool
    kind: Kind
    logit: float

    @property
    def odds(self) -> NDArray[np.float64] | None:
        """Those of its classes, (1,); None without evidence."""
        return _odds(self.evidence)

    @property
    def odds_of_members(self) -> list[NDArray[np.float64]]:
        """Those that each member of the class models gives by itself, (1,) each."""
        return [] if self.evidence is None else [np.array([odds]) for odds in self.evidence.member_odds]


def see(learned: Learned, digest: Digest) -> Seen:
    """Raises BadLearnedParameters where its features are not those that were learned from."""
    network, blocks = Network(digest), learned.params.blocks
    row = dict(zip(features.names(blocks), network.features(blocks), strict=True))
    rows = Rows.of(list(row), [list(row.values())], [digest.architecture], [digest.family])
    rows = replace(rows, training=network.training[None])
    evidence = None if learned.classes is None else learned.classes.evidence(network.class_rows)
    if evidence is not None:
        row[ODDS] = evidence.odds
    novelty, general, foreign = learned.novelty(rows), None, False
    kind, logit = learned.own, float(learned.calibration.logit(learned.logit(rows, _odds(evidence)))[0])
    if learned.general is not None:
        general = learned.general.logits([network.standing])
        row[GENERAL] = float(general[0])
        foreign = learned.is_foreign(novelty)
        if foreign:
            kind, logit = learned.general.measured(network.standing), row[GENERAL]
    return Seen(network, row, rows, evidence, novelty, general, foreign, kind, logit)


def verdict(learned: Learned, digest: Digest, local: Local | None) -> Verdict:
    """All that is said of one network, with what a user's own clean networks tell of its kind."""
    seen = see(learned, digest)
    own = None if local is None else local.of(digest, seen.foreign)
    probability, low, high = _probabilities(learned, seen, own)
    clean_share = seen.kind.clean_share(seen.logit if own is None else float(own.corrected(seen.logit)))
    suspect = None if seen.evidence is None else seen.evidence.suspect
    if seen.foreign and learned.general is not None:
        target = learned.general.suspect(seen.network.standing)
        suspect = None if target is None else Suspect(target, None, probability)
    doubted = any(finding.startswith(DOUBT) for finding in digest.findings)
    if doubted:
        suspect, low, high = None, 0.0, 1.0
    compared = len(seen.kind.clean) if seen.network.class_rows.count >= FEWEST_CLASSES else 0
    return Verdict(
        word=word_of(probability, clean_share, seen.kind.roc_auc, compared, doubted=doubted),
        probability=probability,
        clean_share=clean_share,
        interval=(low, high),
        architecture=digest.architecture,
        num_classes=digest.num_classes,
        findings=digest.findings,
        reasons=tuple(learned.reasons(seen.rows, REASONS, seen.odds)),
        novelty=float(seen.novelty.distance[0]),
        nearer=float(seen.novelty.quantile[0]),
        compared_with=seen.novelty.level[0],
        suspect=suspect,
        features=seen.row,
        foreign=seen.foreign,
        probed=seen.foreign and seen.network.standing.answers is not None,
    )


def background(learned: Learned, digest: Digest) -> Background:
    """What `verdict` compares a network with, and how its classes stand among each other."""
    seen = see(learned, digest)
    rows = seen.network.class_rows
    z, suspicion = together(rows), None
    if learned.classes is not None and not seen.foreign:
        suspicion = learned.classes.suspicion(rows)
    elif learned.general is not None:
        suspicion = learned.general.alternatives.classes(seen.network.standing)
    return Background(
        kind=seen.kind,
        known=learned.classes is not None and not seen.foreign,
        suspicion=z.mean(axis=1) if suspicion is None else suspicion,
        standing=dict(zip(TOGETHER, z.T, strict=True)),
    )


def _odds(evidence: ClassEvidence | None) -> NDArray[np.float64] | None:
    return None if evidence is None else np.array([evidence.odds])


def _probabilities(learned: Learned, seen: Seen, own: LocalKind | None) -> list[float]:
    """Of a trojan, and the ends of its interval."""
    if own is not None and learned.general is not None:
        learned = replace(learned, general=replace(learned.general, doubt=own.doubt))
    odds = seen.odds
    members = [] if odds is None else [odds, *seen.odds_of_members]
    p = np.append(
        learned.probability(seen.rows, odds, seen.general),
        learned.interval(seen.rows, members, seen.general)[0],
    )
    if own is not None:
        clip = learned.params.infer_clip
        p = np.clip(sigmoid(own.corrected(np.log(p / (1 - p)))), clip, 1 - clip)
    return [float(each) for each in p]
