"""`weightfeat calibrate`, and a scan that takes what it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from container_round import small_network
from weightfeat.cli import main


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six networks of one shape, two of another, and a hidden file that is none."""
    folder = tmp_path_factory.mktemp("clean")
    for seed in range(6):
        torch.save(small_network(seed), folder / f"own-{seed}.pt")
    (folder / "more").mkdir()
    for seed in range(2):
        other = torch.nn.Sequential(torch.nn.Conv2d(3, 9, 3), torch.nn.ReLU(), torch.nn.Linear(9, 5))
        torch.save(other.state_dict(), folder / "more" / f"other-{seed}.pt")
    (folder / ".notes").write_text("not a model")
    return folder


def test_a_calibration_is_written_and_a_scan_takes_it(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.json"
    assert main(["calibrate", "--clean", str(clean), "--output", str(own)]) == 0
    said = capsys.readouterr()
    assert "6 clean networks, log-odds shifted by" in said.out
    assert "2 clean networks of one shape; 5 are needed: left out" in said.err
    model = str(clean / "own-0.pt")
    said_of = []
    for options in ([], ["--calibration", str(own)]):
        assert main(["scan", model, "--format", "json", "--exit-zero", *options]) == 0
        said_of.append(json.loads(capsys.readouterr().out)["files"][0]["probability"])
    shift = float(said.out.split("shifted by ")[1].split(",")[0])
    assert (said_of[1] - said_of[0]) * shift > 0


def test_what_cannot_be_told_is_one_line(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output", str(tmp_path / "own.json")]
    assert main(["calibrate", "--clean", str(clean / "more"), *out]) == 2
    assert "no kind of network has 5 files among 2" in capsys.readouterr().err
    assert main(["calibrate", "--clean", str(tmp_path / "absent"), *out]) == 2
    assert "is no folder" in capsys.readouterr().err
    (tmp_path / "own.json").write_text("{}")
    assert main(["scan", str(clean / "own-0.pt"), "--calibration", str(tmp_path / "own.json")]) == 2
    assert "own.json: cannot be read" in capsys.readouterr().err


def test_a_file_that_is_no_model_is_said_and_the_others_count(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clean"
    folder.mkdir()
    for path in clean.glob("own-*.pt"):
        (folder / path.name).symlink_to(path)
    (folder / "readme.txt").write_text("hello")
    assert main(["calibrate", "--clean", str(folder), "--output", str(tmp_path / "own.json")]) == 2
    assert "readme.txt" in capsys.readouterr().err
    assert json.loads((tmp_path / "own.json").read_text())["kinds"][0]["networks"] == 6
