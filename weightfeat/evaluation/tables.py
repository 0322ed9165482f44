"""One table of named columns, and its renderings: for the terminal, as markdown, as CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weightfeat.evaluation.intervals import Estimate, Margin

Cell = str | int | float | Estimate | Margin | None

ABSENT = "-"
"""What a reader is shown where there is no number."""


@dataclass(frozen=True)
class Table:
    """Headings, each with the format specification of its column's numbers, and rows of as many cells.

    A reader is shown numbers as specified, and `ABSENT` for None and NaN. In markdown the estimates of the columns in
    `bold` are bold where their interval excludes zero. CSV holds numbers whole: an estimate in three columns (`name`,
    `name_low`, `name_high`), a margin in two (`name`, `name_ci95`), and nothing for None and NaN.
    """

    columns: Mapping[str, str]
    rows: tuple[tuple[Cell, ...], ...]
    bold: frozenset[str] = frozenset()

    @staticmethod
    def of(columns: Mapping[str, str], rows: Iterable[Sequence[Cell]], bold: Iterable[str] = ()) -> Table:
        """A table of these rows. Raises ValueError where one has not a cell for each column."""
        whole = tuple(tuple(row) for row in rows)
        if odd := [row for row in whole if len(row) != len(columns)]:
            raise ValueError(f"a row of {len(odd[0])} cells for {len(columns)} columns")
        return Table(columns, whole, frozenset(bold))

    def markdown(self) -> str:
        """Lines of a pipe table, the last one ended."""
        rows = [
            [
                f"**{text}**" if name in self.bold and _is_clear(cell) else text
                for name, cell, text in zip(self.columns, row, self._shown(row), strict=True)
            ]
            for row in self.rows
        ]
        lines = [_piped(self.columns), "|" + "---|" * len(self.columns), *map(_piped, rows)]
        return "\n".join(lines) + "\n"

    def terminal(self, indent: int = 0) -> list[str]:
        """Lines of aligned columns two blanks apart, numbers to the right, and all `indent` blanks from the edge."""
        rows = [list(self.columns), *(self._shown(row) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        right = [
            any(isinstance(cell, int | float) for cell in column) for column in zip(*self.rows, strict=True)
        ] or [False] * len(widths)
        return [
            (
                " " * indent
                + "  ".join(
                    text.rjust(width) if to_the_right else text.ljust(width)
                    for text, width, to_the_right in zip(row, widths, right, strict=True)
                )
            ).rstrip()
            for row in rows
        ]

    def csv(self) -> str:
        """Comma-separated values under one header."""
        import pandas as pd

        columns: dict[str, list[object]] = {}
        for at, name in enumerate(self.columns):
            for suffix, numbers in _whole([row[at] for row in self.rows]).items():
                columns[name + suffix] = numbers
        frame = pd.DataFrame(columns, columns=list(columns), dtype=object)
        return str(frame.to_csv(index=False, lineterminator="\n"))

    def _shown(self, row: Sequence[Cell]) -> list[str]:
        return [_text(cell, spec) for cell, spec in zip(row, self.columns.values(), strict=True)]


def _text(cell: Cell, spec: str) -> str:
    if isinstance(cell, str):
        return cell
    value = cell.value if isinstance(cell, Estimate | Margin) else cell
    return ABSENT if value is None or math.isnan(value) else f"{cell:{spec}}"


def _is_clear(cell: Cell) -> bool:
    return isinstance(cell, Estimate) and (cell.low > 0 or cell.high < 0)


def _piped(texts: Iterable[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"


def _whole(cells: Sequence[Cell]) -> dict[str, list[object]]:
    """A column's numbers by the suffix of the name they have in CSV."""
    for kind, fields in _FIELDS.items():
        if any(isinstance(cell, kind) for cell in cells):
            return {suffix: [getattr(cell, name, None) for cell in cells] for suffix, name in fields.items()}
    return {"": list(cells)}


_FIELDS: Mapping[type, Mapping[str, str]] = {
    Estimate: {"": "value", "_low": "low", "_high": "high"},
    Margin: {"": "value", "_ci95": "half_width"},
}
