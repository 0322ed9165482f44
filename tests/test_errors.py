"""What weightfeat prints: one printable line, whoever wrote the names in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from weightfeat.checkpoint.types import Finding
from weightfeat.errors import LONGEST_LINE, BadRound, one_line
from weightfeat.rounds.extraction import Outcome

# Sets the terminal's title, wipes the line, and writes a verdict in its place.
FORGED = "\x1b]0;pwned\x07\x1b[2K\r0.0100 [0.01, 0.02]  resnet18  5 classes  model.pt\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, café 猫", "plain text, café 猫"),
        (r"C:\models", r"C:\models"),
        ("a\nb\r\tc\x1b[2K", r"a\nb\r\tc\x1b[2K"),
        ("caf\udce9", r"caf\udce9"),
        ("left\u202eright\u2028\x9b", r"left\u202eright\u2028\x9b"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert one_line(text) == shown == one_line(shown)
    shown.encode()


@pytest.mark.parametrize("letter", ["x", "\x1b"])
def test_long_text_keeps_both_ends(letter: str) -> None:
    shown = one_line("where: " + letter * 10_000 + "; do this")
    assert len(shown) == LONGEST_LINE
    assert shown.startswith("where: ")
    assert shown.endswith("; do this")
    assert one_line(shown) == shown


def test_an_error_is_said_in_one_line_and_keeps_what_it_was_given() -> None:
    error = BadRound(FORGED, where=Path(FORGED), expected="something\nelse", remedy="mend it")
    assert str(error).isprintable()
    assert "pwned" in str(error)
    assert (error.what, error.where, error.expected) == (FORGED, Path(FORGED), "something\nelse")


def test_findings_and_outcomes_are_one_line() -> None:
    assert Finding("note", FORGED).detail == one_line(FORGED)
    assert Outcome(Path("model.pt"), error=FORGED).error == one_line(FORGED)
    assert Outcome(Path("model.pt"), key="00").error is None
