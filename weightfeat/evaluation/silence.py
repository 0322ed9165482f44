"""Cells of METADATA: one notion of what a cell leaves unsaid, and what those that speak say.

Rounds write the same silence in many ways: Python's `None` as text (2 to 5), an empty field (11), an empty list of
classes (1), JSON's `null` (config.json), pandas' NaN (whoever has rewritten the file).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

__all__ = ["SILENT", "Row", "class_number", "number", "said", "truth", "words_of"]

SILENT = frozenset({"", "none", "null", "nil", "nan", "nat", "na", "n/a", "<na>", "-"})
"""Words that say nothing, in lower case; so does a list of nothing else."""

Row = Mapping[str, object]
"""A network's cells by column: texts as METADATA.csv has them, or values of any kind."""

_BETWEEN = re.compile(r"[\s,;\[\](){}\"']+")
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def said(value: object) -> str:
    """The text of a cell without the blanks around it; "" where it says nothing, however that is written.

    >>> [said(value) for value in (" None", "null", "", float("nan"), "[]", "[None, None]", "N/A", None)]
    ['', '', '', '', '', '', '', '']
    >>> said(" [0 3] "), said(0)
    ('[0 3]', '0')
    """
    text = str(value).strip()
    return "" if all(word in SILENT for word in _BETWEEN.split(text.lower())) else text


def words_of(value: object) -> tuple[str, ...]:
    """The entries of a list as rounds write them, "[0 3]", "[0, 3]" or "0"; none where it says nothing."""
    return tuple(word for word in _BETWEEN.split(said(value)) if said(word))


def number(row: Row, column: str) -> float:
    """The value of a column; NaN where it is absent, says nothing, or is no finite number."""
    try:
        value = float(said(row.get(column, "")) or "nan")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def class_number(value: object) -> int | None:
    """The class that a cell names, "5" or "5.0"; None where it is no whole number from 0 up."""
    found = number({"": value}, "")
    return int(found) if found >= 0 and found.is_integer() else None


def truth(value: object) -> bool | None:
    """True or False as rounds write them (True, TRUE, 1, 1.0); None for anything else."""
    return _TRUTH.get(said(value).lower())
