"""Stages of a set that grew: what joined after one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import comparison
from weightfeat.errors import BadRound
from weightfeat.rounds.disk import METADATA_FILE
from weightfeat.rounds.labelled import LabelledSet

NAMES = ("one", "two", "three", "four")


@pytest.fixture
def labelled() -> LabelledSet:
    return LabelledSet(NAMES, (0, 1, 0, 1), (), pd.DataFrame({"model_name": NAMES}))


def test_what_joined_after_a_stage(labelled: LabelledSet, tmp_path: Path) -> None:
    (tmp_path / comparison.STAGES).write_text("model_name,stage\nthree,1\none,2\ngone,2\ntwo,3\n")
    assert [comparison.since(labelled, tmp_path, stage).tolist() for stage in (1, 2, 3)] == [
        [0, 1, 3],
        [1, 3],
        [3],
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model_name,stage\none,3\n", "no stage 2"),
        ("model_name,stage\none,1\ntwo,1\nthree,2\nfour,2\n", "no network joined after stage 2"),
        ("model_name\none\n", "unreadable stages"),
        ("", "unreadable stages"),
        (None, "unreadable stages"),
    ],
)
def test_a_stage_that_is_none_is_refused(
    labelled: LabelledSet, tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / comparison.STAGES).write_text(content)
    with pytest.raises(BadRound, match=said):
        comparison.since(labelled, tmp_path, 2)


def test_the_reference_sets_stages_are_of_its_networks() -> None:
    stages = pd.read_csv(comparison.ROOT / "reference" / comparison.STAGES)
    names = pd.read_csv(comparison.ROOT / "reference" / METADATA_FILE)["model_name"]
    assert stages["model_name"].is_unique
    assert set(stages["model_name"]) <= set(names)
