"""config.json says what METADATA does not, in every round's shape, and is never more than text."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from test_extraction import save_network

from weightfeat.detector import Target
from weightfeat.digest import DigestStore
from weightfeat.evaluation.strata import Cell, trojan_cell
from weightfeat.rounds.configs import read_config
from weightfeat.rounds.digest_folder import DIGESTS, write_digest_folder
from weightfeat.rounds.disk import read_round
from weightfeat.rounds.extraction import digest_models
from weightfeat.rounds.labelled import from_digests, from_round

CLASSES = 6


def plain(poisoned: bool) -> dict[str, Any]:
    """The values of round 3's config.json."""
    return {
        "py/object": "round_config.RoundConfig",
        "number_classes": CLASSES,
        "number_classes_level": 0,
        "model_architecture": "resnet50",
        "poisoned": poisoned,
        "number_triggered_classes": 1 if poisoned else 0,
        "triggered_classes": [1] if poisoned else None,
        "trigger_target_class": 3 if poisoned else None,
        "trigger_type": "polygon" if poisoned else None,
        "triggered_fraction": 0.2 if poisoned else 0,
    }


def capitals(poisoned: bool) -> dict[str, Any]:
    """Round 2's."""
    return {name.upper(): value for name, value in plain(poisoned).items() if name != "py/object"}


def listed(poisoned: bool) -> dict[str, Any]:
    """Round 4's."""
    trigger = {"py/object": "trigger_config.TriggerConfig", "trigger_number": 0, "color": [200, 0, 0]}
    trigger |= {"source_class": 1, "target_class": 3, "fraction": 0.2, "type": "polygon", "condition": None}
    whole = {"py/object": "round_config.RoundConfig", "number_classes": CLASSES, "poisoned": poisoned}
    return {**whole, "number_triggers": int(poisoned), "triggers": [trigger] if poisoned else None}


def factor(value: Any) -> dict[str, Any]:
    """A drawn value of rounds 10 and 11."""
    return {"py/object": "dex.Factor", "levels": [value, 0], "jitter": None, "level": 0, "value": value}


def wrapped(poisoned: bool) -> dict[str, Any]:
    """Round 11's."""
    executor = {
        "py/object": "trigger_executor.ClassificationPolygonTriggerExecutor",
        "py/state": {"source_class": 1, "target_class": 3, "trigger_fraction": factor(0.2)},
    }
    state = {"poisoned": factor(poisoned), "number_classes": factor(CLASSES), "amp": True}
    state |= {"triggers": [factor(executor)] if poisoned else [], "model_architecture": factor("resnet50")}
    return {"py/object": "config_classification.ConfigSynthImageClassification", "py/state": state}


SHAPES = {"round 2": capitals, "round 3": plain, "round 4": listed, "round 11": wrapped}


def write_round(root: Path, shape: str) -> Path:
    """Four networks, clean and trojaned in turn, that ground_truth.csv and config.json speak of."""
    for at in range(4):
        folder = root / f"id-{at:08d}"
        save_network(folder / "model.pt", at, CLASSES)
        (folder / "ground_truth.csv").write_text(str(at % 2))
        (folder / "config.json").write_text(json.dumps(SHAPES[shape](bool(at % 2))))
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DigestStore:
    return DigestStore(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("metadata", [None, "model_name,poisoned,trigger_target_class\n"])
def test_it_names_the_target_where_metadata_does_not(
    shape: str, metadata: str | None, tmp_path: Path, store: DigestStore
) -> None:
    root = write_round(tmp_path / "round", shape)
    if metadata is not None:
        rows = [f"id-{at:08d},{bool(at % 2)},null\n" for at in range(4)]
        (root / "METADATA.csv").write_text(metadata + "".join(rows))
    found = from_round(read_round(root), store, progress=False)
    assert found.targets == (None, Target(3, (1,)), None, Target(3, (1,)))
    assert [trojan_cell(row, trojaned=True) for row in found.rows[1::2]] == [
        Cell("polygon", "one", "0.10-0.25")
    ] * 2
    assert {row["number_classes"] for row in found.rows[1::2]} == {str(CLASSES)}


def test_what_metadata_says_stays(tmp_path: Path, store: DigestStore) -> None:
    root = write_round(tmp_path / "round", "round 3")
    rows = ["id-00000000,False,None,filter", "id-00000001,True,2,filter", "id-00000002,False,None,"]
    rows += ["id-00000003,True,None,filter"]
    text = "\n".join(["model_name,poisoned,trigger_target_class,trigger_type", *rows]) + "\n"
    (root / "METADATA.csv").write_text(text)
    found = from_round(read_round(root), store, progress=False)
    assert found.targets == (None, Target(2), None, Target(3, (1,)))
    assert [row["trigger_type"] for row in found.rows] == ["filter", "filter", "", "filter"]
    assert found.rows[1]["triggered_classes"] == ""  # it was not asked of a network whose target is named


def test_a_digest_folder_keeps_what_it_said(tmp_path: Path) -> None:
    round_ = read_round(write_round(tmp_path / "round", "round 4"))
    paths = [entry.path for entry in round_.entries if entry.path is not None]
    folder = tmp_path / "digests"
    write_digest_folder(folder, round_, digest_models(paths, DigestStore(folder / DIGESTS), progress=False))
    direct = from_round(round_, DigestStore(folder / DIGESTS), progress=False)
    kept = from_digests(folder)
    assert kept.targets == direct.targets == (None, Target(3, (1,)), None, Target(3, (1,)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "nested too deep"),
        ('{"a": 1' + " " * 2**22 + "}", "larger than"),
        ("\udcff", "utf-8"),
    ],
)
def test_one_that_cannot_be_read_costs_a_warning(
    text: str, said: str, tmp_path: Path, store: DigestStore, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_round(tmp_path / "round", "round 2")
    spoilt = root / "id-00000001" / "config.json"
    spoilt.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=said):
        read_config(spoilt)
    found = from_round(read_round(root), store, progress=False)
    assert found.targets == (None, None, None, Target(3, (1,)))
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert said in warning.getMessage()
    assert str(spoilt) in warning.getMessage()


def test_values_become_text_as_metadata_has_it(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"A": [0, 3], "b": None, "c": True, "d": {"e": 1}, "f": ["x"], "g": 0.5}))
    assert read_config(path) == {"a": "[0 3]", "c": "True", "g": "0.5"}
