"""What METADATA says of a network's trojan, in every round's words, as one record: the only place that knows the words.

Rounds 1 to 3 have one trigger a network, rounds 4, 5, 10 and 11 up to four, each with columns of its own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from weightfeat.evaluation.silence import Row, class_number, number, said, truth, words_of

__all__ = ["ALL", "EACH_TO_THE_NEXT", "TARGET_COLUMNS", "UNKNOWN", "Trojan", "trojans_of", "unread_targets"]

UNKNOWN = "unknown"
ALL = "all"
EACH_TO_THE_NEXT = "all_to_all"
"""How many classes are attacked, and where each leads."""
TARGET_COLUMNS = ("trigger_target_class", "triggers_0_target_class", "trigger_0.target_class")
"""Where rounds name the target: 1 to 3; 4 and 5; 10 and 11. Later triggers have later numbers."""

_ATTACKED = {1: "one", 2: "two"}
_PLAIN = {
    "target": ("trigger_target_class",),
    "sources": ("triggered_classes",),
    "count": ("number_triggered_classes",),
    "trigger": ("trigger_type",),
    "fraction": ("triggered_fraction",),
    "mode": ("trigger_sources",),
}
_NUMBERED = {
    "target": ("target_class",),
    "sources": ("source_class",),
    "trigger": ("trigger_executor", "type"),
    "fraction": ("fraction", "trigger_fraction"),
}
_OF_ONE = re.compile(r"triggers?_([0-9]+)[_.](.+)")


@dataclass(frozen=True)
class Trojan:
    """One trigger of a trojaned network, and where it leads.

    Attributes
    ----------
    target : the class that stamped images are taken for; None where it is not said.
    sources : the classes it is stamped on, but the target; empty where they are not named one by one.
    trigger : "polygon", "filter", or the round's own word in lower case; "unknown" where it is not said.
    attacked : how many classes it is stamped on: one, two, several, all (but the target),
        `EACH_TO_THE_NEXT`, or "unknown".
    fraction : the share of these classes' images that are stamped; None where it is not said.
    """

    target: int | None
    sources: tuple[int, ...]
    trigger: str
    attacked: str
    fraction: float | None


def trojans_of(row: Row, trojaned: bool | None = None) -> tuple[Trojan, ...]:
    """The triggers of one network, in the order of their numbers; none for a clean network or a row that says nothing.

    `trojaned` is the network's label; None: what the row's `poisoned` says, for rounds that say it there.

    >>> trojans_of({"trigger_0.target_class": "5.0", "trigger_0.source_class": "2.0"}, trojaned=True)
    (Trojan(target=5, sources=(2,), trigger='unknown', attacked='one', fraction=None),)
    """
    if not (truth(row.get("poisoned")) if trojaned is None else trojaned):
        return ()
    classes = number(row, "number_classes")
    return tuple(_trojan(cells, classes) for _, cells in _triggers(row))


def unread_targets(row: Row) -> tuple[str, ...]:
    """Of a trojaned network, the targets that are said and are no class: a text for each, naming the column's word."""
    words = (cells["target"] for _, cells in _triggers(row) if "target" in cells)
    return tuple(f"the target is {word!r}" for word in words if class_number(word) is None)


def _triggers(row: Row) -> Iterator[tuple[int, dict[str, str]]]:
    """The number of every trigger of a trojaned network, and what is said of it by field."""
    numbered: dict[int, dict[str, object]] = {}
    for column, value in row.items():
        if match := _OF_ONE.fullmatch(column):
            numbered.setdefault(int(match[1]), {})[match[2]] = value
    found = [(at, _fields(numbered[at], _NUMBERED)) for at in sorted(numbered)]
    found = [(at, cells) for at, cells in found if cells]
    plain = _fields(row, _PLAIN)
    yield from found or ([(0, plain)] if plain else [])


def _fields(row: Row, columns: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """What the first of each field's columns that speaks says."""
    found = {
        field: next((word for name in names if (word := said(row.get(name, "")))), "")
        for field, names in columns.items()
    }
    return {field: word for field, word in found.items() if word}


def _trojan(cells: Mapping[str, str], classes: float) -> Trojan:
    target, fraction = class_number(cells.get("target", "")), number(cells, "fraction")
    named = [class_number(word) for word in words_of(cells.get("sources", ""))]
    sources = tuple(source for source in named if source is not None and source != target)
    return Trojan(
        target=target,
        sources=() if None in named else sources,
        trigger=_kind(cells.get("trigger", "")),
        attacked=_attacked(cells, classes),
        fraction=None if math.isnan(fraction) else fraction,
    )


def _kind(word: str) -> str:
    """Executors of round 11 are classes' names: ClassificationPolygonTriggerExecutor, InstagramTriggerExecutor."""
    word = word.lower()
    if "polygon" in word:
        return "polygon"
    return "filter" if "instagram" in word or "filter" in word else word or UNKNOWN


def _attacked(cells: Mapping[str, str], classes: float) -> str:
    sources = cells.get("sources", "")
    if cells.get("mode", "") == EACH_TO_THE_NEXT:
        return EACH_TO_THE_NEXT
    if ALL in (cells.get("count", "").lower(), sources.lower()):
        return ALL
    count = number(cells, "count")
    if math.isnan(count):
        count = len(words_of(sources))
    if count < 1:
        return UNKNOWN
    # All but one is every class but the target, which relabelling leaves as it is.
    if count >= 3 and (math.isnan(classes) or count >= classes - 1):
        return ALL
    return _ATTACKED.get(int(count), "several")
