"""Checkpoint to Network: ordered layers with kind, role and norm partners, the head, and the architecture by shape."""

from weightfeat.network.builder import build
from weightfeat.network.doubts import doubts
from weightfeat.network.names import ALIASES, ARCHITECTURES, FAMILIES, canonical_architecture, family_of
from weightfeat.network.types import Feed, Layer, Network, Norm

__all__ = [
    "ALIASES",
    "ARCHITECTURES",
    "FAMILIES",
    "Feed",
    "Layer",
    "Network",
    "Norm",
    "build",
    "canonical_architecture",
    "doubts",
    "family_of",
]
