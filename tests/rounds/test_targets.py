"""Targets are found in small rounds under the real headers of every kind, and what they lack is said."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest
from test_extraction import save_network

from networks import network_of, plain_cnn
from round_headers import METADATA, ROUND2, ROUND4, shared_header, write_metadata
from weightfeat import digest
from weightfeat.detector import Target
from weightfeat.digest import DigestStore
from weightfeat.errors import BadRound
from weightfeat.evaluation.strata import UNKNOWN, Cell, trojan_cell
from weightfeat.evaluation.trojans import EACH_TO_THE_NEXT, trojans_of
from weightfeat.rounds.disk import read_round
from weightfeat.rounds.gaps import warn_of_gaps
from weightfeat.rounds.labelled import LabelledSet, from_round
from weightfeat.rounds.metadata import parse_label, read_metadata, target_of

CLASSES = 6
needs_shared = pytest.mark.skipif(not METADATA.is_dir(), reason="needs ../shared")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DigestStore:
    """Digests by content: the rounds below share their networks."""
    return DigestStore(tmp_path_factory.mktemp("store"))


def labelled(root: Path, store: DigestStore) -> LabelledSet:
    """The four networks of a round, clean and trojaned in turn."""
    for at in range(4):
        save_network(root / f"id-{at:08d}" / "model.pt", at, CLASSES)
    return from_round(read_round(root), store, progress=False)


def rows_of(one: dict[str, object], other: dict[str, object]) -> list[dict[str, object]]:
    """Two clean networks and two trojaned ones of which this is said."""
    rows: list[dict[str, object]] = [
        {"model_name": f"id-{at:08d}", "poisoned": bool(at % 2), "number_classes": CLASSES, "master_seed": at}
        for at in range(4)
    ]
    rows[1] |= one
    rows[3] |= other
    return rows


def single(sources: str, target: object, kind: str) -> dict[str, object]:
    """A trigger of rounds 1 to 3."""
    words = {"triggered_classes": sources, "trigger_target_class": target, "trigger_type": kind}
    return {**words, "number_triggered_classes": len(sources.split()), "triggered_fraction": 0.2}


def numbered(prefix: str, at: int, source: object, target: object, **kind: object) -> dict[str, object]:
    """One trigger of rounds with several."""
    cells = {"source_class": source, "target_class": target, **kind}
    return {prefix.format(at) + name: word for name, word in cells.items()}


OF_FOUR = "triggers_{}_"
OF_ELEVEN = "trigger_{}."
EXECUTOR = {"trigger_executor": "ClassificationPolygonTriggerExecutor", "trigger_fraction": 0.1}
ROUNDS = {
    "round 2": (
        lambda: ROUND2,
        single("[3]", 2, "polygon"),
        single("[0 1 2 3 4 5]", 4, "instagram"),
        (Target(2, (3,)), Target(4)),
        (Cell("polygon", "one", "0.10-0.25"), Cell("filter", "all", "0.10-0.25")),
    ),
    "round 3": (
        lambda: shared_header("round3_holdout_METADATA.csv"),
        single("[0 3]", 4, "polygon"),
        single("[1]", 0, "instagram"),
        (Target(4, (0, 3)), Target(0, (1,))),
        (Cell("polygon", "two", "0.10-0.25"), Cell("filter", "one", "0.10-0.25")),
    ),
    "round 4": (
        lambda: ROUND4,
        numbered(OF_FOUR, 0, 1, 5, type="polygon", fraction=0.31),
        numbered(OF_FOUR, 0, 2, 3, type="instagram", fraction=0.1)
        | numbered(OF_FOUR, 1, 3, 2, type="instagram", fraction=0.09),
        (Target(5, (1,)), Target(3, (2,), (Target(2, (3,)),))),
        (Cell("polygon", "one", "0.25-0.50"), Cell("filter", "one", "0.00-0.10")),
    ),
    "round 5": (
        lambda: shared_header("round5_METADATA.csv"),
        numbered(OF_FOUR, 0, 1, 0, type="word", fraction=0.2),
        numbered(OF_FOUR, 0, 0, 1, type="phrase", fraction=0.05)
        | numbered(OF_FOUR, 1, 1, 0, type="word", fraction=0.05),
        (Target(0, (1,)), Target(1, (0,), (Target(0, (1,)),))),
        (Cell("word", "one", "0.10-0.25"), Cell("mixed", "one", "0.00-0.10")),
    ),
    "round 11": (
        lambda: shared_header("round11_METADATA.csv"),
        numbered(OF_ELEVEN, 0, "2.0", "5.0", **EXECUTOR),
        numbered(OF_ELEVEN, 0, "1.0", "0.0", **EXECUTOR)
        | numbered(OF_ELEVEN, 1, "4.0", "3.0", **EXECUTOR)
        | numbered(OF_ELEVEN, 3, "2.0", "0.0", **EXECUTOR),
        (Target(5, (2,)), Target(0, (1, 2), (Target(3, (4,)),))),
        (Cell("polygon", "one", "0.00-0.10"), Cell("polygon", "one", "0.00-0.10")),
    ),
}


@pytest.mark.parametrize("kind", ROUNDS)
@pytest.mark.parametrize("silence", ["None", "", "null"])
def test_a_small_round_of_every_kind_names_its_targets(
    kind: str, silence: str, tmp_path: Path, store: DigestStore, caplog: pytest.LogCaptureFixture
) -> None:
    header, one, other, targets, cells = ROUNDS[kind]
    if kind in ("round 3", "round 5", "round 11") and not METADATA.is_dir():
        pytest.skip("needs ../shared")
    write_metadata(tmp_path, header(), rows_of(one, other), silence)
    found = labelled(tmp_path, store)
    assert found.targets == (None, targets[0], None, targets[1])
    assert found.samples.targets == found.targets
    assert [trojan_cell(row) for row in found.rows[1::2]] == list(cells)
    assert [trojan_cell(row) for row in found.rows[::2]] == [Cell("none", "none", "none")] * 2
    assert found.groups == tuple("0123")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    (copies,) = warnings_of(found, caplog)  # seeds of their own say nothing of that
    assert copies.startswith("no two networks are said to belong together (group, ")


@needs_shared
@pytest.mark.parametrize(
    ("file", "silent"), [("round3_holdout", "fraction"), ("round5", ""), ("round11", "")]
)
def test_every_trojaned_network_of_real_metadata_names_its_target_and_fills_its_cell(
    file: str, silent: str
) -> None:
    table = read_metadata(METADATA / f"{file}_METADATA.csv")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.to_numpy()]
    trojaned = [row for row in rows if parse_label(row["poisoned"], file)]
    assert len(trojaned) == len(rows) / 2
    for row in rows:
        assert (target_of(trojans_of(row), 10) is None) == (row not in trojaned)
    for row in trojaned:
        cell = trojan_cell(row)
        assert UNKNOWN not in (cell.trigger, cell.attacked, cell.fraction)
    several = [len(trojans_of(row)) for row in trojaned]
    counts = {count: several.count(count) for count in set(several)}
    expected = {"round3_holdout": {1: 144}, "round5": {1: 126, 2: 126}, "round11": {1: 48, 2: 48, 4: 48}}
    assert counts == expected[file]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"trigger_target_class": "2", "triggered_classes": "[6]"}, Target(2, (6,))),
        ({"trigger_target_class": "2", "triggered_classes": "[0 3]"}, Target(2, (0, 3))),
        ({"trigger_target_class": "1.0", "triggered_classes": "[0 1 2 3]"}, Target(1)),
        ({"trigger_target_class": "4", "triggered_classes": "all"}, Target(4)),
        ({"trigger_target_class": "4"}, Target(4)),
        ({"trigger_target_class": "None", "triggered_classes": "None"}, None),
        ({"trigger_target_class": "null", "triggered_classes": "[3]"}, None),
        ({"trigger_target_class": "-1"}, None),
        ({}, None),
    ],
)
def test_targets_are_read_as_rounds_write_them(row: dict[str, str], expected: Target | None) -> None:
    assert target_of(trojans_of(row, trojaned=True), 10) == expected


def test_each_class_to_the_next_is_as_many_targets_as_there_are_classes() -> None:
    row = {"trigger_sources": "all_to_all", "trigger_target_class": "None", "triggered_classes": "[0 1 2 3]"}
    (trojan,) = trojans_of(row, True)
    assert trojan.attacked == EACH_TO_THE_NEXT
    target = target_of((trojan,), 4)
    assert target is not None
    assert target.is_next_of_all(4)
    assert {(each.target, each.sources) for each in target.every} == {
        (1, (0,)),
        (2, (1,)),
        (3, (2,)),
        (0, (3,)),
    }
    assert not target.is_next_of_all(5)
    assert not Target(1, (0,)).is_next_of_all(4)
    assert not Target(1, (0,), (Target(2, (0,)), Target(3, (2,)), Target(0, (3,)))).is_next_of_all(4)


def test_triggers_that_lead_to_one_class_are_one_target() -> None:
    row = {f"trigger_{at}.target_class": "5.0" for at in range(3)}
    row |= {f"trigger_{at}.source_class": f"{at}.0" for at in range(3)}
    assert target_of(trojans_of(row, True), 10) == Target(5)  # three sources are many
    assert target_of(trojans_of(row | {"trigger_2.source_class": "1.0"}, True), 10) == Target(5, (0, 1))
    assert target_of(trojans_of(row | {"trigger_2.target_class": ""}, True), 10) == Target(5, (0, 1))
    assert target_of(trojans_of(row | {"trigger_2.source_class": ""}, True), 10) == Target(5)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"trigger_target_class": "7"}, "names class 7 of 5"),
        ({"triggers_0_target_class": "1", "triggers_1_target_class": "8"}, "names class 8 of 5"),
        ({"trigger_target_class": "1", "triggered_classes": "[0 6]"}, "names class 6 of 5"),
        ({"trigger_target_class": "stop"}, "the target is 'stop'"),
        ({"trigger_target_class": "-1"}, "the target is '-1'"),
    ],
)
def test_a_class_the_network_does_not_have_is_refused(cells: dict[str, str], said: str) -> None:
    made = digest.compute(network_of(plain_cnn(classes=5)), key="0" * 64, device="cpu")
    metadata = pd.DataFrame([cells, dict.fromkeys(cells, "None")], index=["a", "b"])
    with pytest.raises(BadRound, match=said) as caught:
        _ = LabelledSet(("a", "b"), (1, 0), (made, made), metadata).targets
    assert "METADATA.csv, a" in str(caught.value)
    assert LabelledSet(("a", "b"), (0, 0), (made, made), metadata).targets == (None, None)


def of_columns(**columns: list[str]) -> LabelledSet:
    """Four networks, clean and trojaned in turn, of which METADATA says this."""
    names = tuple(f"id-{at:08d}" for at in range(4))
    made = digest.compute(network_of(plain_cnn(classes=5)), key="0" * 64, device="cpu")
    return LabelledSet(names, (0, 1, 0, 1), (made,) * 4, pd.DataFrame(columns, index=list(names)))


@pytest.mark.parametrize("silence", ["None", "null", "", "nan", "[]"])
def test_a_network_whose_group_is_not_said_is_a_group_of_its_own(silence: str) -> None:
    found = of_columns(group=["a", silence, silence, "a"])
    assert found.groups == ("a", "id-00000001", "id-00000002", "a")
    assert of_columns(group=[silence] * 4, base_model=["x", "x", "y", "y"]).groups == ("x", "x", "y", "y")
    assert of_columns(group=[silence] * 4).groups == of_columns().groups
    assert of_columns(group=["a"] * 4).groups == of_columns().groups  # no fold could part them


def warnings_of(found: LabelledSet, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is warned of it."""
    caplog.clear()
    warn_of_gaps(found)
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    return caplog.messages


def test_what_metadata_leaves_unsaid_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    targets, groups = warnings_of(of_columns(trigger=["x"] * 4), caplog)
    assert targets.startswith(
        "0 of 2 trojaned networks name their target: class evidence cannot be learned; "
    )
    for column in (
        "trigger_target_class",
        "triggers_0_target_class",
        "trigger_0.target_class",
        "config.json",
    ):
        assert column in targets
    assert groups.startswith(
        "no two networks are said to belong together (group, base_model, design_pair, master_seed): "
    )
    named = ["", "1", "", "2"]
    for seeds in (["null", "", "[]", "None"], list("1234")):
        assert warnings_of(of_columns(trigger_target_class=named, master_seed=seeds), caplog) == [groups]
    for column, words in (("master_seed", "1223"), ("base_model", "xyzx"), ("group", "abcd")):
        assert not warnings_of(of_columns(trigger_target_class=named, **{column: list(words)}), caplog)
    (some,) = warnings_of(
        of_columns(trigger_target_class=["", "1", "", "null"], group=["a", "b", "c", "d"]), caplog
    )
    assert some.startswith("1 of 2 trojaned networks name their target: the others teach no class evidence; ")
    assert not warnings_of(of_columns(trigger_target_class=["", "1", "", "2"], group=list("aabb")), caplog)
