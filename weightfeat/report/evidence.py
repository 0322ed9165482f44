"""What a reader is shown beside a verdict, as plain numbers: computed where the digest is, small enough to send on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weightfeat.detector import Detector, Verdict
from weightfeat.detector.calibration import sigmoid
from weightfeat.detector.kinds import Kind
from weightfeat.detector.words import Word, word_of
from weightfeat.digest import Digest
from weightfeat.features.spectral import edges, share_above
from weightfeat.features.summaries import MIXING, Array
from weightfeat.features.units import high

__all__ = ["BLOCKS", "Evidence", "LayerLine", "evidence"]

BLOCKS = frozenset({"spectrum", "channels"})
"""Blocks of a digest that evidence is made from, beside those that a verdict reads."""


@dataclass(frozen=True)
class LayerLine:
    """One layer.

    Attributes
    ----------
    leading : its largest singular values, at most 16, over the largest that a random matrix of its size and variance
        would have (Marchenko and Pastur 1967): above 1 lies what training, or a trojan, put there. None for a layer
        that mixes no channels.
    above : share of its singular values over that edge; NaN for such a layer.
    channel : how far its loudest output channel lies from the middle one, in the channels' own spread; NaN: unknown.
    """

    name: str
    kind: str
    role: str
    shape: tuple[int, ...]
    leading: tuple[float, ...]
    above: float
    channel: float


@dataclass(frozen=True, eq=False)
class Evidence:
    """Attributes
    ----------
    known : whether the network is compared with the population that the detector learned from.
    suspicion : by class, as `detector.Background` has it; (C,).
    standing : by statistic, how far the suspected target stands out of the classes.
    clean, trojaned : probabilities that networks of its kind got from what had not learned of them.
    rates : by label, how many of those were called what.
    layers : in the network's order.
    """

    known: bool
    suspicion: Array
    standing: Mapping[str, float]
    clean: Array
    trojaned: Array
    rates: Mapping[str, Mapping[Word, int]]
    layers: tuple[LayerLine, ...]


def evidence(digest: Digest, detector: Detector, verdict: Verdict) -> Evidence:
    """From a digest that holds `BLOCKS` and what the detector reads, and what was said of it."""
    background = detector.background(digest)
    suspect = verdict.suspect
    standing = (
        {} if suspect is None else {n: float(z[suspect.target]) for n, z in background.standing.items()}
    )
    clean, trojaned = sigmoid(background.kind.clean), sigmoid(background.kind.trojaned)
    return Evidence(
        background.known,
        background.suspicion,
        standing,
        clean,
        trojaned,
        rates(background.kind),
        _layers(digest),
    )


def rates(kind: Kind) -> dict[str, dict[Word, int]]:
    """How many clean and trojaned networks of a kind were called what, each judged by what did not learn of it."""
    found: dict[str, dict[Word, int]] = {}
    for label, logits in (("clean", kind.clean), ("trojaned", kind.trojaned)):
        found[label] = {}
        for logit in logits.tolist():
            # A clean network is not compared with itself.
            others = max(len(kind.clean) - (label == "clean"), 0)
            above = int((kind.clean >= logit).sum()) - (label == "clean")
            word = word_of(float(sigmoid(logit)), (1 + above) / (1 + others), kind.roc_auc, others)
            found[label][word] = found[label].get(word, 0) + 1
    return found


def _layers(digest: Digest) -> tuple[LayerLine, ...]:
    table, spectra, channels = (digest.blocks[name] for name in ("layers", "spectrum", "channels"))
    # Variance is that of all groups together.
    leading = spectra["leading"].astype(np.float64)
    edge = edges(spectra) / np.sqrt(table["groups"])
    mixes = np.isin(table["kind"], MIXING)
    ratios = np.divide(leading, edge[:, None], out=np.zeros_like(leading), where=edge[:, None] > 0)
    above, channel = (
        share_above(spectra["grid"].astype(np.float64), edge),
        high(channels["grid"][:, 3].astype(float)),
    )
    return tuple(
        LayerLine(
            name=str(table["name"][at]),
            kind=str(table["kind"][at]),
            role=str(table["role"][at]),
            shape=tuple(int(side) for side in table["shape"][at] if side),
            leading=tuple(ratios[at][np.isfinite(ratios[at])].tolist()) if mixes[at] else (),
            above=float(above[at]) if mixes[at] else float("nan"),
            channel=float(channel[at]),
        )
        for at in range(len(table["name"]))
    )
