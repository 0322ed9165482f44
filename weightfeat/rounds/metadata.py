"""METADATA.csv of a TrojAI round.

Values are kept as the strings they are, because rounds differ in how they write them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from weightfeat.detector.classes.targets import Target
from weightfeat.errors import BadRound

_TRUE, _FALSE = frozenset({"true", "1", "1.0"}), frozenset({"false", "0", "0.0"})
SILENT = frozenset({"", "none", "nan", "null"})
FEW_SOURCES = 2
TARGET = "trigger_target_class"


def read_metadata(path: Path) -> pd.DataFrame:
    """METADATA.csv as strings, indexed by model name; blanks stay blank, "None" stays "None".

    Raises
    ------
    BadRound : absent, unreadable, no `model_name` column, or a name twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header, *rows = [row for row in csv.reader(stream, skipinitialspace=True) if row] or [[]]
        cut = _padless(len(header))
        table = pd.DataFrame([cut(row) for row in rows], columns=[c.strip() for c in header], dtype=str)
    except FileNotFoundError:
        raise BadRound(
            "does not exist", where=path, expected="a round's METADATA.csv", remedy="check the path"
        ) from None
    except (ValueError, csv.Error, OSError) as error:
        raise BadRound(
            f"not readable as CSV ({error})",
            where=path,
            expected="comma-separated values, each row as long as the header",
            remedy="restore the file from the round's archive",
        ) from error
    if "model_name" not in table.columns:
        raise BadRound(
            "no column model_name",
            where=path,
            expected="the columns of a TrojAI round's METADATA.csv",
            remedy="restore the file from the round's archive",
        )
    names = table["model_name"].str.strip()
    require_none(
        sorted(names[names.duplicated()].unique()),
        path,
        "model names appear twice",
        "one row a model",
        "delete one",
    )
    return table.assign(model_name=names).set_index(names.rename(None))


def parse_label(text: str, where: object) -> int | None:
    """1 for poisoned, 0 for clean, None for a blank or "None"; BadRound for anything else."""
    word = text.strip().lower()
    if word in SILENT:
        return None
    if word in _TRUE or word in _FALSE:
        return int(word in _TRUE)
    raise BadRound(
        f"label is {text.strip()[:40]!r}",
        where=where,
        expected="True, False, 1 or 0",
        remedy="mend the label or leave the model out",
    )


def require_none(names: list[str], where: Path, what: str, expected: str, remedy: str) -> None:
    """Raise BadRound when `names` is not empty, showing how many there are and the first three."""
    if names:
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        raise BadRound(f"{len(names)} {what} ({shown})", where=where, expected=expected, remedy=remedy)


def _padless(width: int) -> Callable[[list[str]], list[str]]:
    """Cuts a row's trailing empty fields down to `width`; any other length is an error."""

    def cut(row: list[str]) -> list[str]:
        if len(row) < width or any(row[width:]):
            raise ValueError(f"a row of {len(row)} fields under a header of {width}, at {row[0][:40]!r}")
        return row[:width]

    return cut


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
