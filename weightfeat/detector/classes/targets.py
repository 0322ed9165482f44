"""The target and source classes of a trojan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A trojan's target class and its sources; no sources stands for many (all classes, or not named).

    A network with several triggers may have several targets: `others` are those of the further ones, each with its own
    sources and none of its own `others`.
    """

    target: int
    sources: tuple[int, ...] = ()
    others: tuple[Target, ...] = ()

    @property
    def every(self) -> tuple[Target, ...]:
        """This target, then the others."""
        return (self, *self.others)

    @property
    def classes(self) -> tuple[int, ...]:
        """The classes that are targets."""
        return tuple(each.target for each in self.every)


def check(counts: Sequence[int], targets: Sequence[Target | None]) -> None:
    """ValueError unless every target is a class of its network; `counts` are the class counts."""
    for count, target in zip(counts, targets, strict=True):
        named = (
            () if target is None else tuple(c for each in target.every for c in (each.target, *each.sources))
        )
        if not all(0 <= c < count for c in named):
            raise ValueError(f"{target} does not fit a network of {count} classes")
