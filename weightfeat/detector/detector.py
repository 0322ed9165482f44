"""The detector: learns from samples, says of a digest how likely the network is trojaned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weightfeat import features
from weightfeat.detector import store
from weightfeat.detector.background import Background
from weightfeat.detector.calibration import sigmoid
from weightfeat.detector.classes.models import FEWEST_CLASSES, ClassEvidence, Suspect
from weightfeat.detector.general.doubt import LEAST_DOUBT
from weightfeat.detector.general.model import GENERAL
from weightfeat.detector.general.statistics import TOGETHER, together
from weightfeat.detector.kinds import Against, Kind
from weightfeat.detector.learned import ODDS, Learned
from weightfeat.detector.local import Local
from weightfeat.detector.novelty import Novelty
from weightfeat.detector.samples import Network, Rows, Samples
from weightfeat.detector.verdict import Verdict
from weightfeat.detector.words import word_of
from weightfeat.features import classes, places, training

if TYPE_CHECKING:
    from weightfeat.detector.training import OutOfFold
    from weightfeat.digest import Digest
    from weightfeat.metaparameters import Metaparameters

__all__ = ["Detector"]

REASONS = 5
DOUBT = "doubt: "
"""What a finding begins with that says why a digest may not be of the network that computes."""


class Detector:
    """Says how likely a network is trojaned.

    Parameters
    ----------
    params : the metaparameters; `train_*` shape `fit`, `infer_*` shape what is said.
    beside : networks of other recipes, from which every fit learns what holds in all.
    threads : ensemble members grown at once; never changes a result.
    local : what a user's own clean networks tell of their kinds.

    Scoring needs numpy only. `weightfeat.detector.table.TableDetector` is the same as a scikit-learn estimator of plain
    tables.

    >>> detector = weightfeat.load()
    >>> careful = detector.with_inference(detector.params.replace(infer_clip=0.4))
    >>> 0.4 <= careful.predict(weightfeat.digest_file("model.pt")).probability <= 0.6
    True
    """

    def __init__(
        self,
        params: Metaparameters,
        *,
        beside: Samples | None = None,
        threads: int = 1,
        local: Local | None = None,
    ) -> None:
        self.params = params
        self.beside = beside
        self.threads = threads
        self.local = local

    learned_: Learned
    out_of_fold_: OutOfFold

    def fit(self, samples: Samples) -> Detector:
        """Learn; what was said of each network without it is kept as `out_of_fold_`.

        Raises BadRound for labels of one class only, or where no feature block is switched on.
        """
        from weightfeat.detector.training import learn

        every = samples if self.beside is None else samples.beside(self.beside)
        self.learned_, self.out_of_fold_ = learn(every, self.params, self.threads)
        return self

    def predict(self, digest: Digest) -> Verdict:
        """All that is said of one network.

        Raises BadLearnedParameters where its features are not those that were learned from.
        """
        learned = self._inference()
        seen = _seen(learned, digest)
        local = None if self.local is None else self.local.of(digest, seen.foreign)
        if local is not None and learned.general is not None:
            learned = replace(learned, general=replace(learned.general, doubt=local.doubt))
        odds, members = None, []
        if seen.evidence is not None:
            odds = np.array([seen.evidence.odds])
            members = [odds, *(np.array([each]) for each in seen.evidence.member_odds)]
        said = np.array([*learned.probability(seen.rows, odds, seen.general)])
        said = np.append(said, learned.interval(seen.rows, members, seen.general)[0])
        kind, logit = seen.against
        if local is not None:
            clip = learned.params.infer_clip
            said = np.clip(sigmoid(local.corrected(np.log(said / (1 - said)))), clip, 1 - clip)
            logit = float(local.corrected(logit))
        probability, low, high = said.tolist()
        suspect = None if seen.evidence is None else seen.evidence.suspect
        if seen.foreign and learned.general is not None:
            target = learned.general.suspect(seen.network.standing)
            suspect = None if target is None else Suspect(target, None, probability)
        clean_share = kind.clean_share(logit)
        doubted = any(finding.startswith(DOUBT) for finding in digest.findings)
        if doubted:
            suspect, low, high = None, 0.0, 1.0
        compared = len(kind.clean) if seen.network.class_rows.count >= FEWEST_CLASSES else 0
        return Verdict(
            word=word_of(probability, clean_share, kind.roc_auc, compared, doubted=doubted),
            probability=probability,
            clean_share=clean_share,
            interval=(low, high),
            architecture=digest.architecture,
            num_classes=digest.num_classes,
            findings=digest.findings,
            reasons=tuple(learned.reasons(seen.rows, REASONS, odds)),
            novelty=float(seen.novelty.distance[0]),
            nearer=float(seen.novelty.quantile[0]),
            compared_with=seen.novelty.level[0],
            suspect=suspect,
            features=seen.row,
            foreign=seen.foreign,
        )

    def against(self, digest: Digest) -> Against:
        """What a network is measured against: see `Against`. Raises BadLearnedParameters as `predict` does."""
        learned = self._inference()
        seen = _seen(learned, digest)
        doubt = LEAST_DOUBT if learned.general is None else learned.general.doubt
        return Against(*seen.against, seen.foreign, doubt)

    def background(self, digest: Digest) -> Background:
        """What `predict` compares the network with, and how its classes stand among each other.

        Raises BadLearnedParameters as `predict` does.
        """
        learned = self._inference()
        seen = _seen(learned, digest)
        rows = seen.network.class_rows
        z, suspicion = together(rows), None
        if learned.classes is not None and not seen.foreign:
            suspicion = learned.classes.suspicion(rows)
        elif learned.general is not None:
            suspicion = learned.general.alternatives.classes(seen.network.standing)
        return Background(
            kind=seen.against[0],
            known=learned.classes is not None and not seen.foreign,
            suspicion=z.mean(axis=1) if suspicion is None else suspicion,
            standing=dict(zip(TOGETHER, z.T, strict=True)),
        )

    def predict_proba(self, samples: Samples) -> NDArray[np.float64]:
        """Columns: probability of a clean and of a trojaned network, (n, 2).

        Raises BadLearnedParameters where the samples lack a feature that was learned from, ValueError where classes
        were learned from and the samples are no digests.
        """
        learned = self._inference()
        odds = None
        if learned.classes is not None:
            if not samples.networks:
                raise ValueError("classes were learned from: samples of digests are needed, not a table")
            odds = learned.classes.odds(samples.class_rows)
        general = None if learned.general is None else learned.general.logits(samples.standings)
        p = learned.probability(samples.rows(learned.params.blocks), odds, general)
        return np.column_stack([1 - p, p])

    @property
    def reads(self) -> frozenset[str]:
        """The blocks of a digest that a verdict is made from."""
        learned = self._fitted()
        seen = features.reads(learned.params.blocks)
        seen |= frozenset() if learned.classes is None else classes.READ
        return seen | training.READ | (frozenset() if learned.general is None else classes.READ | places.READ)

    def with_inference(self, params: Metaparameters) -> Detector:
        """The same learned parameters under the `infer_*` values of `params`."""
        return self._with(params=self.params.replace(**params.infer_dict()))

    def with_local(self, local: Local) -> Detector:
        """The same learned parameters, with what a user's own clean networks tell of their kinds."""
        return self._with(local=local)

    @property
    def identity(self) -> str:
        """A sha256 of all that was learned."""
        return store.identity(self._fitted())

    def _with(self, **changes: Any) -> Detector:
        own: dict[str, Any] = {"params": self.params, "threads": self.threads, "local": self.local}
        other = Detector(**(own | changes))
        other.learned_ = self._fitted()
        if hasattr(self, "out_of_fold_"):
            other.out_of_fold_ = self.out_of_fold_
        return other

    def save(self, directory: Path, scores: Mapping[str, Any] | None = None) -> None:
        """Write the learned parameters; killed at any moment, the old ones stay usable. Raises BadOutput."""
        store.save(self._inference(), Path(directory), scores)

    @classmethod
    def load(cls, directory: Path) -> Detector:
        """Read what `save` wrote, trusting none of it. Raises BadLearnedParameters."""
        learned = store.load(Path(directory))
        detector = cls(learned.params)
        detector.learned_ = learned
        return detector

    def _fitted(self) -> Learned:
        if not hasattr(self, "learned_"):
            raise AttributeError("this Detector is not fitted: call fit or load first")
        return self.learned_

    def _inference(self) -> Learned:
        """Learned parameters under this detector's present `infer_*` values."""
        learned = self._fitted()
        return replace(learned, params=learned.params.replace(**self.params.infer_dict()))


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one network is judged by.

    Attributes
    ----------
    row : every named number; rows : those that trees and population read.
    foreign : whether more of its probability is the general model's than the population's.
    against : the networks it is measured against, and its calibrated log-odds beside theirs.
    """

    network: Network
    row: dict[str, float]
    rows: Rows
    evidence: ClassEvidence | None
    novelty: Novelty
    general: NDArray[np.float64] | None
    foreign: bool
    against: tuple[Kind, float]


def _seen(learned: Learned, digest: Digest) -> _Seen:
    network, blocks = Network(digest), learned.params.blocks
    row = dict(zip(features.names(blocks), network.features(blocks), strict=True))
    rows = Rows.of(list(row), [list(row.values())], [digest.architecture], [digest.family])
    rows = replace(rows, training=network.training[None])
    evidence = None if learned.classes is None else learned.classes.evidence(network.class_rows)
    odds = None if evidence is None else np.array([evidence.odds])
    if evidence is not None:
        row[ODDS] = evidence.odds
    novelty, general, foreign = learned.novelty(rows), None, False
    kind, logit = learned.own, float(learned.calibration.logit(learned.logit(rows, odds))[0])
    if learned.general is not None:
        general = learned.general.logits([network.standing])
        row[GENERAL] = float(general[0])
        foreign = learned.is_foreign(novelty)
        if foreign:
            kind, logit = learned.general.measured(network.standing), row[GENERAL]
    return _Seen(network, row, rows, evidence, novelty, general, foreign, (kind, logit))
