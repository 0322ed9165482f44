"""Factors of how networks were made: what is left out, level by level, to ask about recipes that nobody knows.

A clean network has no trigger of its own: with a level of the trigger's factors the clean one of the same pair is left
out, so that both labels are tested.
"""

from __future__ import annotations

from collections.abc import Sequence

from weightfeat.evaluation.silence import Row, number, said, truth
from weightfeat.evaluation.trojans import UNKNOWN, Trojan, trojans_of

__all__ = ["FACTORS", "levels_of", "origin_of", "recipe_levels"]

POPULATION = "reference"
"""Stands for the data of the population's own networks, whose recipe is one and needs no columns."""
FACTORS = (
    "data", "architecture group", "optimizer", "balance", "trigger", "sources", "poison", "hard"
)  # fmt: skip


def origin_of(row: Row) -> str:
    """Where a network of a recipe comes from; "" for the population's own."""
    return said(row.get("recipe_data", ""))


def levels_of(rows: Sequence[Row]) -> tuple[dict[str, str], ...]:
    """Of every network a level of each of FACTORS, from METADATA's rows."""
    trojaned = {_pair(row): row for row in rows if truth(row.get("poisoned"))}
    return tuple(_levels(row, trojaned.get(_pair(row), row)) for row in rows)


def recipe_levels(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """By factor its level for every network."""
    found = levels_of(rows)
    return {factor: tuple(levels[factor] for levels in found) for factor in FACTORS}


def _levels(row: Row, trojaned: Row) -> dict[str, str]:
    """`trojaned` is the row of the pair's trojaned network, or its own where it has no pair."""
    own, trojan = not origin_of(row), next(iter(trojans_of(trojaned)), _NOTHING)
    return {
        "data": POPULATION if own else origin_of(row),
        "architecture group": "stock" if own else _word(row, "recipe_group"),
        "optimizer": "adam" if own else _word(row, "recipe_optimizer"),
        "balance": "uneven" if number(row, "recipe_uneven") > 1 else "even",
        "trigger": trojan.trigger,
        "sources": said(trojaned.get("trigger_sources", "")) or trojan.attacked,
        "poison": "planted" if truth(row.get("recipe_continued")) else "from the start",
        "hard": said(row.get("recipe_hard", "")) or "none",
    }


_NOTHING = Trojan(None, (), UNKNOWN, UNKNOWN, None)


def _pair(row: Row) -> str:
    own = said(row.get("design_pair", "")) or said(row.get("model_name", ""))
    return f"{origin_of(row) and 'recipe'} {own}"


def _word(row: Row, column: str) -> str:
    return said(row.get(column, "")) or UNKNOWN
