"""The detector: learns from samples, says of a digest how likely the network is trojaned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weightfeat import features
from weightfeat.detector import store
from weightfeat.detector.classes.models import FEWEST_CLASSES, Suspect
from weightfeat.detector.general.model import GENERAL
from weightfeat.detector.learned import ODDS, Learned
from weightfeat.detector.samples import Network, Rows, Samples
from weightfeat.detector.verdict import Verdict
from weightfeat.detector.words import word_of
from weightfeat.features.classes import READ

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

    Scoring needs numpy only. `weightfeat.detector.table.TableDetector` is the same as a scikit-learn estimator of plain
    tables.
    """

    def __init__(self, params: Metaparameters, *, beside: Samples | None = None, threads: int = 1) -> None:
        self.params = params
        self.beside = beside
        self.threads = threads

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
        learned, network = self._inference(), Network(digest)
        blocks = learned.params.blocks
        row = dict(zip(features.names(blocks), network.features(blocks), strict=True))
        rows = Rows.of(list(row), [list(row.values())], [digest.architecture], [digest.family])
        evidence = None if learned.classes is None else learned.classes.evidence(network.class_rows)
        odds, members = None, []
        if evidence is not None:
            row[ODDS], odds = evidence.odds, np.array([evidence.odds])
            members = [odds, *(np.array([each]) for each in evidence.member_odds)]
        novelty, general = learned.novelty(rows), None
        if learned.general is not None:
            general = learned.general.logits([network.class_rows])
            row[GENERAL] = float(general[0])
        low, high = learned.interval(rows, members, general)[0]
        probability = float(learned.probability(rows, odds, general)[0])
        suspect = None if evidence is None else evidence.suspect
        kind, logit = learned.own, float(learned.calibration.logit(learned.logit(rows, odds))[0])
        if learned.general is not None and learned.is_foreign(novelty):
            kind, logit = learned.general.measured(network.class_rows), row[GENERAL]
            suspect = Suspect(learned.general.suspect(network.class_rows), None, probability)
        clean_share = kind.clean_share(logit)
        doubted = any(finding.startswith(DOUBT) for finding in digest.findings)
        if doubted:
            suspect, low, high = None, 0.0, 1.0
        compared = len(kind.clean) if network.class_rows.count >= FEWEST_CLASSES else 0
        return Verdict(
            word=word_of(probability, clean_share, kind.roc_auc, compared, doubted=doubted),
            probability=probability,
            clean_share=clean_share,
            interval=(float(low), float(high)),
            architecture=digest.architecture,
            num_classes=digest.num_classes,
            findings=digest.findings,
            reasons=tuple(learned.reasons(rows, REASONS, odds)),
            novelty=float(novelty.distance[0]),
            nearer=float(novelty.quantile[0]),
            compared_with=novelty.level[0],
            suspect=suspect,
            features=row,
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
        general = None if learned.general is None else learned.general.logits(samples.class_rows)
        p = learned.probability(samples.rows(learned.params.blocks), odds, general)
        return np.column_stack([1 - p, p])

    @property
    def reads(self) -> frozenset[str]:
        """The blocks of a digest that a verdict is made from."""
        learned = self._fitted()
        seen = features.reads(learned.params.blocks)
        return seen if learned.classes is None else seen | READ

    def with_inference(self, params: Metaparameters) -> Detector:
        """The same learned parameters under the `infer_*` values of `params`."""
        other = Detector(self.params.replace(**params.infer_dict()), threads=self.threads)
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
