"""The architecture table, read once: what torchvision's 23 networks look like in a file, and how they are wired."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any

from weightfeat.network.types import Kind

CLASSES = "C"
"""Stands for the class count in a shape."""

ANY = "any"
"""Stands for a free size: an auxiliary head keeps its old class count when only the real head was replaced."""

Shape = tuple[int | str, ...]

_NORM_LEAVES = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class LayerRow:
    """A convolution or linear layer; partners are row numbers of the entry's `rows`."""

    name: str
    kind: Kind
    shape: Shape
    bias: bool
    groups: int
    previous: int | None
    norm_after: int | None
    norm_before: int | None

    @property
    def tensors(self) -> tuple[tuple[str, Shape], ...]:
        """Names and shapes of its tensors, in `state_dict()` order."""
        weight = (f"{self.name}.weight", self.shape)
        return (weight, (f"{self.name}.bias", self.shape[:1])) if self.bias else (weight,)


@dataclass(frozen=True)
class NormRow:
    """A BatchNorm."""

    name: str
    channels: int
    eps: float

    @property
    def tensors(self) -> tuple[tuple[str, Shape], ...]:
        """Names and shapes of its tensors, in `state_dict()` order, without the batch counter."""
        return tuple((f"{self.name}.{leaf}", (self.channels,)) for leaf in _NORM_LEAVES)


@dataclass(frozen=True)
class Entry:
    """One architecture: its modules in order, the row of its head, what feeds the head, its auxiliary heads.

    `feeds` holds (row, first input channel, one past the last).
    """

    architecture: str
    family: str
    aux: tuple[str, ...]
    head: int
    feeds: tuple[tuple[int, int, int], ...]
    rows: tuple[LayerRow | NormRow, ...]

    @cached_property
    def tensors(self) -> tuple[tuple[str, Shape], ...]:
        """Names and shapes of every tensor but the batch counters, in `state_dict()` order."""
        return tuple(
            (name, tuple(ANY if size == CLASSES else size for size in shape) if self.is_aux(row) else shape)
            for row in self.rows
            for name, shape in row.tensors
        )

    def is_aux(self, row: LayerRow | NormRow) -> bool:
        """Whether the row belongs to an auxiliary head, which classifies nothing after training."""
        return row.name.partition(".")[0] in self.aux


@cache
def entries() -> tuple[Entry, ...]:
    """Every entry of architectures.json, those with auxiliary heads after the plain ones."""
    text = resources.files("weightfeat.network").joinpath("architectures.json").read_text(encoding="ascii")
    return tuple(_entry(item) for item in json.loads(text))


def _entry(item: dict[str, Any]) -> Entry:
    return Entry(
        architecture=item["architecture"],
        family=item["family"],
        aux=tuple(item["aux"]),
        head=item["head"],
        feeds=tuple((row, start, stop) for row, start, stop in item["feeds"]),
        rows=tuple(_row(row) for row in item["modules"]),
    )


def _row(row: list[Any]) -> LayerRow | NormRow:
    if row[1] == "norm":
        name, _, channels, eps = row
        return NormRow(name, channels, eps)
    name, kind, shape, bias, groups, previous, norm_after, norm_before = row
    return LayerRow(name, kind, tuple(shape), bool(bias), groups, previous, norm_after, norm_before)
