"""A table says the same in every rendering."""

from __future__ import annotations

import csv
import io

import pytest

from weightfeat.evaluation.intervals import Estimate, Margin
from weightfeat.evaluation.tables import Table

NAN = float("nan")
COLUMNS = {"name": "", "n": "", "AUC": ".2f", "more": "+.1f", "CE": ".3f"}
ROWS = (
    ("resnet18", 8, 0.512345, Estimate(1.25, 0.5, 2.0), Margin(0.25, 0.0625)),
    ("a|b, c", 12, NAN, Estimate(-0.5, -1.0, 0.25), None),
    ("none", 0, None, Estimate(NAN, NAN, NAN), Margin(NAN, NAN)),
)


@pytest.fixture
def table() -> Table:
    return Table.of(COLUMNS, ROWS, bold=("more",))


def test_markdown_sets_bold_what_excludes_zero(table: Table) -> None:
    assert table.markdown() == (
        "| name | n | AUC | more | CE |\n|---|---|---|---|---|\n"
        "| resnet18 | 8 | 0.51 | **+1.2 [+0.5, +2.0]** | 0.250 +- 0.062 |\n"
        "| a\\|b, c | 12 | - | -0.5 [-1.0, +0.2] | - |\n"
        "| none | 0 | - | - | - |\n"
    )


def test_the_terminal_gets_aligned_columns(table: Table) -> None:
    assert table.terminal(2) == [
        "  name       n   AUC  more               CE",
        "  resnet18   8  0.51  +1.2 [+0.5, +2.0]  0.250 +- 0.062",
        "  a|b, c    12     -  -0.5 [-1.0, +0.2]  -",
        "  none       0     -  -                  -",
    ]


def test_csv_holds_whole_numbers(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert list(rows[0]) == ["name", "n", "AUC", "more", "more_low", "more_high", "CE", "CE_ci95"]
    assert list(rows[0].values()) == ["resnet18", "8", "0.512345", "1.25", "0.5", "2.0", "0.25", "0.0625"]
    assert rows[1]["name"] == "a|b, c"
    assert list(rows[1].values())[2:] == ["", "-0.5", "-1.0", "0.25", "", ""]
    assert list(rows[2].values()) == ["none", "0", *[""] * 6]


def test_numbers_survive_csv() -> None:
    values = [0.1 + 0.2, 1e-300, 123456789.123456789, 2.0]
    text = Table.of({"value": ".1f"}, [(value,) for value in values]).csv()
    assert [float(line) for line in text.splitlines()[1:]] == values


def test_a_table_without_rows_is_its_header() -> None:
    empty = Table.of(COLUMNS, ())
    assert empty.markdown().count("\n") == 2
    assert empty.terminal() == ["name  n  AUC  more  CE"]
    assert empty.csv() == "name,n,AUC,more,CE\n"


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells for 5 columns"):
        Table.of(COLUMNS, [("alone",)])
