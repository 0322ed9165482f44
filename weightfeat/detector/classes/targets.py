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

    @classmethod
    def next_of_all(cls, count: int) -> Target:
        """An all-to-all trojan of `count` classes: each is taken for the next, the last for the first."""
        first, *others = (cls(source + 1, (source,)) for source in range(count - 1))
        return cls(first.target, first.sources, (*others, cls(0, (count - 1,))))

    def is_next_of_all(self, count: int) -> bool:
        """Whether it is that trojan of a network of `count` classes."""
        return len(self.every) == count and all(
            each.sources == ((each.target - 1) % count,) for each in self.every
        )

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
