"""Sentences for the person who must decide: one for every word, never rounded into a certainty."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from report_samples import evidence, verdict
from weightfeat.detector.general.numbers import TOGETHER
from weightfeat.detector.words import Word
from weightfeat.report.wording import STANDING, compared, meaning, next_steps, record, share


@pytest.mark.parametrize("word", get_args(Word))
def test_every_word_has_a_meaning_and_a_next_step_of_its_own(word: Word) -> None:
    said = verdict(word)
    others = [verdict(other) for other in get_args(Word) if other != word]
    assert meaning(said) not in map(meaning, others)
    assert next_steps(said)[0] not in [next_steps(other)[0] for other in others]


def test_no_share_is_rounded_to_none_or_all() -> None:
    shown = {value: share(value) for value in (0.0, 0.001, 0.01, 0.314, 0.99, 0.9999, 1.0)}
    assert list(shown.values()) == ["0 %", "under 1 %", "1 %", "31 %", "99 %", "over 99 %", "100 %"]


def test_a_network_s_kin_is_named_for_what_it_is() -> None:
    assert "its own architecture (resnet18)" in compared(verdict())
    assert "40 % of the reference networks are more typical" in compared(verdict())
    assert "unlike every network" in compared(verdict(nearer=1.0))
    assert "its family only is known" in compared(verdict(compared_with="family"))
    assert "no network like it is known" in compared(verdict(compared_with="pool"))


def test_the_record_counts_every_network_of_its_kind() -> None:
    said = record(evidence())
    assert "among 40 trojaned ones" in said
    assert "among 60 clean ones" in said
    assert said.startswith("Of the reference networks")
    assert record(replace(evidence(), known=False)).startswith("Of networks of other recipes")
    unmeasured = replace(evidence(), rates={"clean": {}, "trojaned": {}})
    assert "was not measured" in record(unmeasured)


def test_every_statistic_of_a_class_has_words() -> None:
    assert set(STANDING) == set(TOGETHER)
