"""What networks are called in reports: METADATA's architecture where the weights tell none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from weightfeat.detector.normaliser import UNKNOWN
from weightfeat.detector.samples import Samples
from weightfeat.evaluation.silence import Row, said
from weightfeat.network.names import canonical_architecture, family_of

__all__ = ["with_named_architectures"]


def with_named_architectures(samples: Samples, rows: Sequence[Row]) -> Samples:
    """The same networks, those of unknown architecture called what `model_architecture` in their row says.

    For tables and the metadata-only control, not to learn from: a scan sees no METADATA, so there such a network is
    unknown, and must be compared with what was unknown in learning.
    """
    named = [
        canonical_architecture(said(row.get("model_architecture", ""))) if own == UNKNOWN else ""
        for own, row in zip(samples.architecture, rows, strict=True)
    ]
    return replace(
        samples,
        architecture=tuple(name or own for name, own in zip(named, samples.architecture, strict=True)),
        family=tuple(
            family_of(name) if name else own for name, own in zip(named, samples.family, strict=True)
        ),
    )
