"""Digest -> one named row: the same names for every architecture, NaN where a feature is not defined."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from weightfeat.digest.types import Digest
from weightfeat.features import head as _head
from weightfeat.features import spectral as _spectral
from weightfeat.features import units as _units
from weightfeat.features import values as _values
from weightfeat.features.registry import REGISTRY

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BLOCKS", "names", "reads", "relative_names", "row", "table"]

BLOCKS: tuple[str, ...] = tuple(REGISTRY)
"""Every feature block, in the order its columns appear."""

_MODULES = (_head, _spectral, _units, _values)  # importing them fills the registry


def names(blocks: Iterable[str] = BLOCKS) -> tuple[str, ...]:
    """Column names of the given blocks, in the registry's order whatever order they are asked in."""
    wanted = _checked(blocks)
    return tuple(name for block in BLOCKS if block in wanted for name in REGISTRY[block].names)


def relative_names(blocks: Iterable[str] = BLOCKS) -> tuple[str, ...]:
    """Names of the features whose raw values mean the same in every architecture."""
    wanted = _checked(blocks)
    return tuple(n for b in BLOCKS if b in wanted and REGISTRY[b].relative for n in REGISTRY[b].names)


def reads(blocks: Iterable[str] = BLOCKS) -> frozenset[str]:
    """The blocks of a digest that these blocks of features are made from."""
    wanted = _checked(blocks)
    return frozenset(block for name in wanted for block in REGISTRY[name].reads)


def row(digest: Digest, blocks: Iterable[str] = BLOCKS) -> dict[str, float]:
    """One network's features by name. Raises ValueError for an unknown block."""
    wanted = _checked(blocks)
    out: dict[str, float] = {}
    for block in (REGISTRY[name] for name in BLOCKS if name in wanted):
        out.update(zip(block.names, block.compute(digest), strict=True))
    return out


def table(digests: Sequence[Digest], blocks: Iterable[str] = BLOCKS) -> pd.DataFrame:
    """Features of many networks, one float64 row each, in the order given."""
    import pandas as pd

    wanted = _checked(blocks)
    rows = [row(digest, wanted) for digest in digests]
    return pd.DataFrame(rows, columns=list(names(wanted)), dtype="float64")


def _checked(blocks: Iterable[str]) -> frozenset[str]:
    wanted = frozenset(blocks)
    if unknown := sorted(wanted - set(BLOCKS)):
        raise ValueError(f"unknown feature block {unknown[0]!r}; there are {', '.join(BLOCKS)}")
    return wanted
