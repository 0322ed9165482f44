"""Silence is silence however it is written, and a trojan is one record in whatever words a round has for it."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightfeat.evaluation.covariates import covariate
from weightfeat.evaluation.recipes import recipe_levels
from weightfeat.evaluation.silence import SILENT, class_number, number, said, truth, words_of
from weightfeat.evaluation.strata import Cell, class_level, trojan_cell
from weightfeat.evaluation.trojans import Trojan, trojans_of, unread_targets

BLANKS = st.text(" \t", max_size=2)
WORDS = st.sampled_from(sorted(SILENT)).flatmap(
    lambda word: st.sampled_from([word, word.upper(), word.title()])
)


@st.composite
def silences(draw: st.DrawFn) -> str:
    """A word of silence in any case, alone, quoted, or in a list of any brackets."""
    words = draw(st.lists(WORDS, min_size=1, max_size=3))
    left, right = draw(
        st.sampled_from([("", ""), ("[", "]"), ("(", ")"), ("{", "}"), ("'", "'"), ('"', '"')])
    )
    return (
        draw(BLANKS) + left + draw(st.sampled_from([" ", ", ", ",", ";"])).join(words) + right + draw(BLANKS)
    )


@given(silences())
def test_silence_says_nothing_to_any_reader_of_a_cell(silence: str) -> None:
    assert said(silence) == ""
    assert words_of(silence) == ()
    assert class_number(silence) is None
    assert truth(silence) is None
    assert math.isnan(number({"a": silence}, "a"))


@pytest.mark.parametrize("value", [None, float("nan"), np.nan, pd.NA, pd.NaT, [], (), {}, [None]])
def test_so_do_values_that_are_no_text(value: object) -> None:
    assert said(value) == ""


@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), min_size=1))
def test_what_holds_another_word_is_said_as_it_stands(text: str) -> None:
    words = [word for word in re.split(r"[\s,;\[\](){}\"']+", text.lower()) if word not in SILENT]
    assert said(text) == (text.strip() if words else "")


def test_numbers_are_finite_and_classes_whole() -> None:
    assert number({"a": " 0.5 "}, "a") == 0.5
    assert all(math.isnan(number({"a": word}, "a")) for word in ("inf", "-inf", "x", "1 2"))
    assert math.isnan(number({}, "a"))
    assert [class_number(word) for word in ("5", "5.0", " 5 ", 5, 5.0)] == [5] * 5
    assert [class_number(word) for word in ("-1", "0.5", "1e999", "five", "[5]")] == [None] * 5


POLYGON = {
    "poisoned": "True",
    "number_classes": "9",
    "number_triggered_classes": "2",
    "triggered_classes": "[0 3]",
    "trigger_target_class": "5",
    "trigger_type": "polygon",
    "triggered_fraction": "0.2",
}
PAIR = {
    "poisoned": "TRUE",
    "number_classes": "20",
    "number_triggers": "2",
    "triggers_0_source_class": "1",
    "triggers_0_target_class": "0",
    "triggers_0_fraction": "0.3",
    "triggers_0_type": "instagram",
    "triggers_1_source_class": "0",
    "triggers_1_target_class": "7",
    "triggers_1_fraction": "0.08",
    "triggers_1_type": "polygon",
}
FOUR = {
    "poisoned": "True",
    "number_classes": "30",
    "trigger_0.source_class": "12.0",
    "trigger_0.target_class": "5.0",
    "trigger_0.trigger_fraction": "0.2",
    "trigger_0.type": "LomoFilterXForm",
    "trigger_0.trigger_executor": "InstagramTriggerExecutor",
    "trigger_3.source_class": "2.0",
    "trigger_3.target_class": "5.0",
    "trigger_3.trigger_fraction": "0.1",
    "trigger_3.trigger_executor": "ClassificationPolygonTriggerExecutor",
}


@pytest.mark.parametrize(
    ("row", "trojans"),
    [
        (POLYGON, (Trojan(5, (0, 3), "polygon", "two", 0.2),)),
        (
            PAIR,
            (Trojan(0, (1,), "filter", "one", 0.3), Trojan(7, (0,), "polygon", "one", 0.08)),
        ),
        (
            FOUR,
            (Trojan(5, (12,), "filter", "one", 0.2), Trojan(5, (2,), "polygon", "one", 0.1)),
        ),
    ],
)
def test_every_round_s_words_give_the_same_record(row: dict[str, str], trojans: tuple[Trojan, ...]) -> None:
    assert trojans_of(row) == trojans
    assert trojans_of(dict(reversed(row.items()))) == trojans
    assert trojans_of(row, trojaned=False) == ()
    assert trojans_of({**row, "poisoned": "False"}) == ()
    assert trojans_of({**row, "poisoned": "None"}) == ()
    assert trojans_of({**row, "poisoned": "None"}, trojaned=True) == trojans
    assert unread_targets(row) == ()


@given(st.data())
def test_a_silent_cell_is_a_column_that_is_not_there(data: st.DataObject) -> None:
    row = data.draw(st.sampled_from([POLYGON, PAIR, FOUR]))
    silenced = data.draw(st.sets(st.sampled_from(sorted(row))))
    silent = {name: data.draw(silences()) if name in silenced else word for name, word in row.items()}
    bare = {name: word for name, word in row.items() if name not in silenced}
    assert trojans_of(silent) == trojans_of(bare)
    assert trojans_of(silent, trojaned=True) == trojans_of(bare, trojaned=True)
    assert trojan_cell(silent) == trojan_cell(bare)
    assert class_level(silent) == class_level(bare)
    assert recipe_levels([silent]) == recipe_levels([bare])
    np.testing.assert_array_equal(covariate("fraction", [silent]), covariate("fraction", [bare]))


@given(st.lists(st.integers(0, 40), max_size=5, unique=True), st.integers(0, 40))
def test_lists_of_classes_are_read_in_every_spelling(classes: list[int], target: int) -> None:
    for text in (
        str(classes),
        str(classes).replace(",", ""),
        str(tuple(classes)),
        "; ".join(map(str, classes)),
        str([float(c) for c in classes]),
    ):
        (trojan,) = trojans_of({"triggered_classes": text, "trigger_target_class": str(target)}, True)
        assert trojan.target == target
        assert trojan.sources == tuple(c for c in classes if c != target)
        assert trojan.attacked == {0: "unknown", 1: "one", 2: "two"}.get(len(classes), "all")


def test_sources_that_are_not_all_classes_are_not_named() -> None:
    (trojan,) = trojans_of({"trigger_target_class": "4", "triggered_classes": "[0 none-of-it]"}, True)
    assert (trojan.sources, trojan.attacked) == ((), "two")
    (trojan,) = trojans_of({"trigger_target_class": "4", "triggered_classes": "all"}, True)
    assert (trojan.sources, trojan.attacked) == ((), "all")


def test_a_target_that_is_no_class_is_named() -> None:
    assert unread_targets({**POLYGON, "trigger_target_class": "-1"}) == ("the target is '-1'",)
    assert unread_targets({**PAIR, "triggers_1_target_class": "stop"}) == ("the target is 'stop'",)


def test_a_cell_of_several_triggers_is_what_they_share() -> None:
    assert trojan_cell(PAIR) == Cell("mixed", "one", "mixed")
    assert trojan_cell({**PAIR, "triggers_0_type": "polygon"}) == Cell("polygon", "one", "mixed")
    assert trojan_cell({**PAIR, "triggers_1_fraction": "0.26"}) == Cell("mixed", "one", "0.25-0.50")


@pytest.mark.parametrize("silence", ["null", "NULL", "[]", "nan", "N/A", ""])
def test_classes_that_are_not_named_are_not_one_class(silence: str) -> None:
    row = {**POLYGON, "number_triggered_classes": silence, "triggered_classes": silence}
    assert trojan_cell(row).attacked == "unknown"


@pytest.mark.parametrize(
    ("row", "level"),
    [
        ({"number_classes": "14", "number_classes_level": "0"}, "about 10"),
        ({"number_classes": "15", "number_classes_level": "1"}, "about 20"),
        ({"number_classes": "24", "number_classes_level": "0"}, "about 20"),  # rounds 4 and 11
        ({"number_classes": "44", "number_classes_level": "1"}, "about 40"),
        ({"number_classes": "130", "number_classes_level": "3"}, "60 and more"),
        ({"number_classes": "null", "number_classes_level": "1"}, "about 20"),
        ({"number_classes_level": "3"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_number_of_classes_speaks_before_its_level(row: dict[str, str], level: str) -> None:
    assert class_level(row) == level


def test_a_fraction_is_the_mean_over_the_triggers_that_are_all_known() -> None:
    rows = [POLYGON, PAIR, {**PAIR, "triggers_1_fraction": "None"}, {}]
    np.testing.assert_allclose(covariate("fraction", rows), [0.2, 0.19, np.nan, np.nan])


def test_factors_of_recipes_are_read_of_the_pair_s_trojaned_network() -> None:
    clean = {"poisoned": "False", "design_pair": "3", "number_triggered_classes": "0"}
    levels = recipe_levels([clean, {**POLYGON, "design_pair": "3"}, {**clean, "design_pair": "null"}])
    assert levels["trigger"] == ("polygon", "polygon", "unknown")
    assert levels["sources"] == ("two", "two", "unknown")
