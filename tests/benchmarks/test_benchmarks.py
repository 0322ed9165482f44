"""The benchmarks' command lines: what they cannot use they refuse in one line, before any work."""

from __future__ import annotations

import json
import os
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

import compare_report
from weightfeat.zoo import triggers

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def refused(capsys: pytest.CaptureFixture[str], script: str, *words: str) -> str:
    """The one line that a benchmark ends with, whose exit code must be 2."""
    with (
        patch.dict(os.environ),
        patch.object(sys, "argv", [script, *words]),
        pytest.raises(SystemExit) as ended,
    ):
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    lines = [line for line in said.err.splitlines() if "error: " in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ablation.py --digests nope", "nope"),
        ("ablation.py --change depth=3", "'depth=3' is not METAPARAMETER=VALUE"),
        ("compare.py --reference nope --out {tmp}", "METADATA.csv: does not exist"),
        ("compare.py --count 0", "--count: '0'"),
        ("configure_time.py --digests nope", "METADATA.csv: does not exist"),
        ("few_known.py --digests nope", "nope"),
        ("holdout.py --reference nope", "nope"),
        ("many_models.py --architecture foo line", "foo: unknown architecture"),
        ("r11_statistics.py foo", "foo: no statistics of such networks"),
        ("r11_statistics.py --data nope", "nope: cannot be read"),
        ("r11_statistics.py --set depth", "'depth' is not METAPARAMETER=VALUE"),
        ("recipe_curve.py --counts -1", "--counts: '-1'"),
        ("recipe_curve.py --recipes nope", "nope"),
        ("recipe_rivals.py --recipes nope", "nope"),
        ("recipe_rivals.py --factor foo", "argument --factor: invalid choice: 'foo'"),
        ("rivals.py --folds 1", "--folds: '1'"),
        ("rivals.py --repeats 0", "--repeats: '0'"),
        ("rivals.py --seed -1", "--seed: '-1'"),
        ("rivals.py --since 0", "--since: '0'"),
        ("speed.py foo", "foo: unknown architecture"),
        ("weightwatcher_tables.py --reference nope", "nope"),
        ("zoo_fairness.py --folds 1", "--folds: '1'"),
        ("zoo_seconds.py foo", "foo: unknown architecture"),
        ("zoo_seconds.py resnet18 --preset foo", "foo: unknown preset"),
        ("zoo_sheets.py --output {file}", "the folder of sheets cannot be made"),
        ("zoo_sheets.py --seed -1", "--seed: '-1'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    given = words.format(tmp=tmp_path / "out", file=tmp_path / "file").split()
    assert said in refused(capsys, *given)
    assert {path.name for path in tmp_path.iterdir()} <= {"file", "out"}


@dataclass(frozen=True)
class Trojaned:
    """As much of a network as the sheet of triggers asks for."""

    folder: Path
    trojaned: int = 1
    kind: str = "polygon"
    attacked: str = "one"

    @property
    def name(self) -> str:
        return self.folder.name


def test_the_sheet_shows_the_true_triggers_polygon_beside_the_networks_name(tmp_path: Path) -> None:
    network = Trojaned(tmp_path / "id-00000003")
    network.folder.mkdir()
    (network.folder / "config.json").write_text(json.dumps({"TRIGGER_TARGET_CLASS": 1}))
    corners = np.array([[-0.6, -0.6], [0.6, -0.6], [0.0, 0.7]])
    triggers.picture(corners, (255, 0, 0), 64).save(network.folder / "trigger.png")
    assert compare_report.sheet([network], tmp_path)
    with Image.open(tmp_path / compare_report.SHEET) as image:
        label, true, *_ = np.hsplit(np.asarray(image), 4)
    assert label.min() < 128 < label.mean()
    assert tuple(true[0, 0]) == compare_report.GREY
    middle = true[compare_report.TILE // 2, compare_report.TILE // 2].astype(int)
    assert np.abs(middle - (255, 0, 0)).max() < 10
