"""The target and source classes that METADATA names for a trojaned network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightfeat.errors import BadRound

if TYPE_CHECKING:
    from weightfeat.rounds.labelled import LabelledSet

SILENT = ("", "none", "nan", "null")
FEW_SOURCES = 2
TARGET = "trigger_target_class"


@dataclass(frozen=True)
class Target:
    """A trojan's target class and its sources; no sources stands for many (all classes, or not named)."""

    target: int
    sources: tuple[int, ...] = ()


def targets_of(labelled: LabelledSet) -> tuple[Target | None, ...]:
    """One entry a network: None for a clean one, and for a trojaned one whose target is not named.

    Raises BadRound where METADATA names a class that the network does not have, or what is no class.
    """
    rows = labelled.rows
    found = []
    for name, label, digest, row in zip(labelled.names, labelled.labels, labelled.digests, rows, strict=True):
        target = target_of(row) if label else None
        if target is not None and max(target.target, *target.sources, 0) >= digest.num_classes:
            highest = max(target.target, *target.sources, 0)
            raise _bad_row(name, f"names class {highest} of {digest.num_classes}")
        word = str(row.get(TARGET, "")).strip()
        if label and target is None and word.lower() not in SILENT:
            raise _bad_row(name, f"{TARGET} is {word!r}")
        found.append(target)
    return tuple(found)


def _bad_row(name: str, what: str) -> BadRound:
    return BadRound(
        what,
        where=f"METADATA.csv, {name}",
        expected="numbers of target and source classes that the network has, or none",
        remedy="correct the row",
    )


def target_of(row: Mapping[str, object]) -> Target | None:
    """The target of one METADATA row of rounds 1 to 4; None where `trigger_target_class` is silent or no number."""
    target = _integer(row.get(TARGET, ""))
    if target is None:
        return None
    words = str(row.get("triggered_classes", "")).strip("[]() ").replace(",", " ").split()
    sources = [_integer(word) for word in words]
    named = tuple(s for s in sources if s is not None and s != target)
    complete = len(named) == len([s for s in sources if s != target])
    return Target(target, named if complete and 0 < len(named) <= FEW_SOURCES else ())


def _integer(value: object) -> int | None:
    word = str(value).strip()
    if word.lower() in SILENT:
        return None
    try:
        number = float(word)
    except ValueError:
        return None
    return int(number) if number >= 0 and number.is_integer() else None


def check(counts: Sequence[int], targets: Sequence[Target | None]) -> None:
    """ValueError unless every target is a class of its network; `counts` are the class counts."""
    for count, target in zip(counts, targets, strict=True):
        if target is not None and not all(0 <= c < count for c in (target.target, *target.sources)):
            raise ValueError(f"{target} does not fit a network of {count} classes")
