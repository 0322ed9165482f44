"""Thresholds, exit codes, acceptances and stable rule ids."""

from __future__ import annotations

import datetime as dt
from typing import get_args

import pytest

from report_samples import entries, report, verdict
from weightfeat import errors
from weightfeat.checkpoint.types import FindingKind
from weightfeat.detector.words import Word
from weightfeat.errors import BadCommandLine, WeightfeatError
from weightfeat.report import Acceptance, Threshold
from weightfeat.report.rules import RULES, of_error, of_finding, of_word, parted
from weightfeat.report.text import Tally
from weightfeat.report.types import SAID


@pytest.mark.parametrize(
    ("threshold", "loud"),
    [
        ("trojaned", {"trojaned"}),
        ("suspicious", {"trojaned", "suspicious"}),
        ("cannot-tell", {"trojaned", "suspicious", "cannot tell"}),
        ("never", set()),
    ],
)
def test_a_word_is_loud_from_the_threshold_on(threshold: str, loud: set[str]) -> None:
    reached = {word for word in get_args(Word) if Threshold(threshold).reached(verdict(word))}
    assert reached == loud


def test_a_probability_is_loud_from_itself_on() -> None:
    assert Threshold("0.5").reached(verdict("no sign found", 0.5))
    assert not Threshold("0.5").reached(verdict("trojaned", 0.49))


@pytest.mark.parametrize("text", ["", "loud", "1.1", "-0.1", "nan", "0,5"])
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(BadCommandLine, match="no threshold"):
        Threshold(text)


def test_the_loudest_decides_the_exit_code_and_what_was_accepted_does_not_count() -> None:
    trojaned, _, clean, _, accepted, failed = entries()
    for some, code in (
        ([clean], 0),
        ([clean, accepted], 0),
        ([clean, failed], 2),
        ([failed, trojaned], 1),
        ([], 0),
    ):
        tally = Tally()
        for entry in some:
            tally.add(entry)
        assert tally.exit_code == code


def test_an_acceptance_holds_through_its_last_day() -> None:
    held = Acceptance("a" * 64, "why", dt.date(2027, 5, 1))
    assert held.holds(dt.date(2027, 5, 1))
    assert not held.holds(dt.date(2027, 5, 2))
    assert Acceptance("a" * 64, "why").holds(dt.date(9999, 1, 1))


def test_counts_name_everything_that_can_be_said() -> None:
    counts = report().counts
    assert tuple(counts) == SAID
    assert sum(counts.values()) == len(entries())


def test_rule_ids_are_what_they_were() -> None:
    """Pipelines filter by them: one may be added, none renamed."""
    assert [rule.id for rule in RULES] == [
        *("WF-TROJAN", "WF-SUSPICIOUS", "WF-UNSURE", "WF-NO-SIGN"),
        *("WF-FOREIGN-CALL", "WF-UNREADABLE-TENSOR", "WF-AMBIGUOUS-ORDER", "WF-OUTSIDE-TABLES"),
        *("WF-SECOND-NETWORK", "WF-DOUBT", "WF-NOTE"),
        *("WF-UNREADABLE", "WF-UNSUPPORTED", "WF-HOSTILE", "WF-NOT-A-CLASSIFIER", "WF-FAILED"),
    ]


def test_every_word_and_finding_has_a_rule_of_its_own() -> None:
    assert len({of_word(word).id for word in get_args(Word)}) == len(get_args(Word))
    assert len({of_finding(kind).id for kind in get_args(FindingKind)}) == len(get_args(FindingKind))
    assert of_finding("unheard-of").id == "WF-NOTE"


def test_every_error_has_a_rule() -> None:
    said = {"where": "x", "expected": "y", "remedy": "z"}
    rules = {
        name: of_error(getattr(errors, name)("what", **said)).id
        for name in ("UnreadableFile", "UnsupportedLayout", "HostileFile", "NotAClassifier")
    }
    assert len(set(rules.values())) == 4
    assert of_error(WeightfeatError("what", **said)).id == "WF-FAILED"


def test_a_finding_is_parted_at_its_kind_alone() -> None:
    assert parted("note: a: b") == ("note", "a: b")
    assert parted("layer: odd") == ("note", "layer: odd")
