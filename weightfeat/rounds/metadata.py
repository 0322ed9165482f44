"""METADATA.csv of a TrojAI round.

Values are kept as the strings they are, because rounds differ in how they write them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from weightfeat.detector.classes.targets import Target
from weightfeat.errors import BadRound
from weightfeat.evaluation.silence import said, truth
from weightfeat.evaluation.trojans import EACH_TO_THE_NEXT, Trojan

FEW_SOURCES = 2
"""With more, a source says no more than the target: each of them looks like any other class."""


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
    word, label = said(text), truth(text)
    if word and label is None:
        raise BadRound(
            f"label is {word[:40]!r}",
            where=where,
            expected="True, False, 1 or 0",
            remedy="mend the label or leave the model out",
        )
    return None if label is None else int(label)


def require_none(names: list[str], where: Path, what: str, expected: str, remedy: str) -> None:
    """Raise BadRound when `names` is not empty, showing how many there are and the first three."""
    if names:
        raise BadRound(
            f"{len(names)} {what} ({first_few(names)})", where=where, expected=expected, remedy=remedy
        )


def first_few(names: Sequence[str]) -> str:
    """The first three of some names, for a line that must stay one."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _padless(width: int) -> Callable[[list[str]], list[str]]:
    """Cuts a row's trailing empty fields down to `width`; any other length is an error."""

    def cut(row: list[str]) -> list[str]:
        if len(row) < width or any(row[width:]):
            raise ValueError(f"a row of {len(row)} fields under a header of {width}, at {row[0][:40]!r}")
        return row[:width]

    return cut


def target_of(trojans: Sequence[Trojan], count: int) -> Target | None:
    """What class evidence is taught of a network's triggers; None where none of them names its target.

    Triggers that lead to one class are one target, whose sources are those of all of them. `count` is the number of
    the network's classes.
    """
    if count > 1 and any(trojan.attacked == EACH_TO_THE_NEXT for trojan in trojans):
        return Target.next_of_all(count)
    by_target: dict[int, list[Trojan]] = {}
    for trojan in trojans:
        if trojan.target is not None:
            by_target.setdefault(trojan.target, []).append(trojan)
    if not by_target:
        return None
    first, *others = (Target(target, _few_sources(every)) for target, every in by_target.items())
    return Target(first.target, first.sources, tuple(others))


def _few_sources(trojans: Sequence[Trojan]) -> tuple[int, ...]:
    """The sources of triggers that share a target; none where they are many, or some are not named."""
    sources = tuple(dict.fromkeys(source for trojan in trojans for source in trojan.sources))
    return sources if len(sources) <= FEW_SOURCES and all(trojan.sources for trojan in trojans) else ()
