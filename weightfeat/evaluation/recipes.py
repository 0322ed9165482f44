"""Factors of how networks were made: what is left out, level by level, to ask about recipes that nobody knows.

A clean network has no trigger of its own: with a level of the trigger's factors the clean one of the same pair is left
out, so that both labels are tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["FACTORS", "origin_of", "recipe_levels"]

POPULATION = "reference"
"""Stands for the data of the population's own networks, whose recipe is one and needs no columns."""
FACTORS = (
    "data", "architecture group", "optimizer", "balance", "trigger", "sources", "poison", "hard"
)  # fmt: skip
_TRIGGERS = {"instagram": "filter"}
_ATTACKED = {1: "one", 2: "two"}

Row = Mapping[str, object]


def origin_of(row: Row) -> str:
    """Where a network of a recipe comes from; "" for the population's own."""
    return _word(row, "recipe_data")


def recipe_levels(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """A level of every factor for every network, from METADATA's rows."""
    trojaned = {_pair(row): row for row in rows if _word(row, "poisoned").lower() in ("true", "1")}
    found = [_levels(row, trojaned.get(_pair(row), row)) for row in rows]
    return {factor: tuple(levels[factor] for levels in found) for factor in FACTORS}


def _levels(row: Row, trojaned: Row) -> dict[str, str]:
    """`trojaned` is the row of the pair's trojaned network, or its own where it has no pair."""
    own = not origin_of(row)
    kind = _word(trojaned, "trigger_type")
    return {
        "data": POPULATION if own else origin_of(row),
        "architecture group": "stock" if own else _word(row, "recipe_group"),
        "optimizer": "adam" if own else _word(row, "recipe_optimizer"),
        "balance": "even" if own or float(_word(row, "recipe_uneven")) <= 1 else "uneven",
        "trigger": _TRIGGERS.get(kind, kind) or "unknown",
        "sources": _word(trojaned, "trigger_sources") or _attacked(trojaned),
        "poison": "planted" if _word(row, "recipe_continued").lower() == "true" else "from the start",
        "hard": "none" if own else _word(row, "recipe_hard"),
    }


def _attacked(row: Row) -> str:
    count = _word(row, "number_triggered_classes")
    return _ATTACKED.get(int(float(count)), "all") if count else "unknown"


def _pair(row: Row) -> str:
    return f"{origin_of(row) and 'recipe'} {_word(row, 'design_pair') or _word(row, 'model_name')}"


def _word(row: Row, column: str) -> str:
    word = str(row.get(column, "")).strip()
    return "" if word.lower() in ("none", "nan") and column.startswith("trigger") else word
