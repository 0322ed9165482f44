"""What is said of one network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weightfeat.detector.card import card
from weightfeat.detector.classes.models import Suspect
from weightfeat.detector.words import Word

NAMED_FROM = 0.5
"""The probability of a trojan from which a suspect is named."""


@dataclass(frozen=True)
class Verdict:
    """What weightfeat says of one network.

    `word` is the answer in a word, and `clean_share` the share of clean networks, of the like and judged by what had
    not learned of them, that were at least as suspicious. `probability` is that of a trojan, in [0, 1], and `interval`
    its range over the ensemble's members and over what is not known of a recipe. `reasons` are the features that moved
    the score most, and by how much (log-odds, before calibration). `novelty` is the distance to the training
    population, about 1 within it, and `nearer` the share of its networks that lie nearer, each judged by the others;
    `compared_with` says whether that held networks of its "architecture", of its "family" only, or neither ("pool").
    `foreign` says that it was judged as a network of another recipe, by what holds in all of them, and `probed` that it
    was asked too: what it answers on images made here has a part in the probability.
    `suspect` is the class most like a trojan's target, whatever the probability. `features` is the named row that all
    of it came from (NaN where undefined). Whoever read a file adds its `path` and the `seconds` of wall time that it
    took, reading included.

    Where a finding says why what was read may not be the network that computes ("doubt: ..."), the word is "cannot
    tell", the interval all of [0, 1], and there is no suspect.

    >>> verdict = weightfeat.scan("model.pt")
    >>> verdict.word in ("trojaned", "suspicious", "no sign found", "cannot tell")
    True
    >>> verdict.compared_with, f"{verdict.features['head.log_classes']:.3f}"
    ('pool', '1.792')
    """

    word: Word
    probability: float
    clean_share: float
    interval: tuple[float, float]
    architecture: str
    num_classes: int
    findings: tuple[str, ...]
    reasons: tuple[tuple[str, float], ...]
    novelty: float
    nearer: float
    compared_with: str
    suspect: Suspect | None
    features: Mapping[str, float]
    foreign: bool = False
    probed: bool = False
    path: Path | None = None
    seconds: float = 0.0

    @property
    def is_named(self) -> bool:
        """Whether a trojan is likely enough for the suspect to be worth naming."""
        return self.suspect is not None and self.probability >= NAMED_FROM

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return card(self)
