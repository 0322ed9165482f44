"""The target and source classes of a trojan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A trojan's target class and its sources; no sources stands for many (all classes, or not named)."""

    target: int
    sources: tuple[int, ...] = ()


def check(counts: Sequence[int], targets: Sequence[Target | None]) -> None:
    """ValueError unless every target is a class of its network; `counts` are the class counts."""
    for count, target in zip(counts, targets, strict=True):
        if target is not None and not all(0 <= c < count for c in (target.target, *target.sources)):
            raise ValueError(f"{target} does not fit a network of {count} classes")
