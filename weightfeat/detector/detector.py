"""The detector: learns from samples, says of a digest how likely the network is trojaned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weightfeat import features
from weightfeat.detector import judging, store
from weightfeat.detector.background import Background
from weightfeat.detector.general.doubt import LEAST_DOUBT
from weightfeat.detector.kinds import Against
from weightfeat.detector.learned import Learned
from weightfeat.detector.local import Local
from weightfeat.detector.samples import Samples
from weightfeat.detector.verdict import Verdict
from weightfeat.features import classes, places, training

if TYPE_CHECKING:
    from weightfeat.detector.training import OutOfFold
    from weightfeat.digest import Digest
    from weightfeat.metaparameters import Metaparameters

__all__ = ["Detector"]


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
        return judging.verdict(self._inference(), digest, self.local)

    def against(self, digest: Digest) -> Against:
        """What a network is measured against: see `Against`. Raises BadLearnedParameters as `predict` does."""
        learned = self._inference()
        seen = judging.see(learned, digest)
        doubt = LEAST_DOUBT if learned.general is None else learned.general.doubt
        return Against(seen.kind, seen.logit, seen.foreign, doubt)

    def background(self, digest: Digest) -> Background:
        """What `predict` compares the network with, and how its classes stand among each other.

        Raises BadLearnedParameters as `predict` does.
        """
        return judging.background(self._inference(), digest)

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

    @property
    def asks(self) -> float:
        """Multiplications that asking a network may cost (`weightfeat.probes.asked`); 0 where answers say nothing."""
        general = self._fitted().general
        return self.params.infer_probe * 1e9 if general is not None and general.hears else 0.0

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
