"""Output files are whole or absent, and a stale result never passes for a new one."""

from __future__ import annotations

import csv
import math
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightfeat import files
from weightfeat.container import results
from weightfeat.errors import BadOutput


@given(st.floats(0.0, 1.0))
def test_a_result_is_one_line_that_reads_back_to_the_same_float(
    tmp_path_factory: pytest.TempPathFactory, p: float
) -> None:
    path = tmp_path_factory.mktemp("results") / "result.txt"
    results.write_result(path, p)
    text = path.read_text()
    assert text.count("\n") == 1
    assert float(text.splitlines()[0].strip()) == p
    assert [entry.name for entry in path.parent.iterdir()] == ["result.txt"]


@pytest.mark.parametrize("p", [math.nan, math.inf, -0.1, 1.0000001])
def test_what_is_no_probability_is_never_written(tmp_path: Path, p: float) -> None:
    with pytest.raises(ArithmeticError):
        results.write_result(tmp_path / "result.txt", p)
    assert list(tmp_path.iterdir()) == []


def test_features_are_two_rows_names_then_values(tmp_path: Path) -> None:
    path = tmp_path / "features.csv"
    results.write_features(path, {"a": 1.5, "b, c": 0.1 + 0.2, "gone": math.nan})
    names, values = csv.reader(path.read_text().splitlines())
    assert names == ["a", "b, c", "gone"]
    assert values == ["1.5", "0.30000000000000004", ""]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadOutput, match="No space left on device"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        files.write_atomically(tmp_path / "file", b"x")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_prepare_removes_what_an_earlier_run_left(tmp_path: Path) -> None:
    result, features = tmp_path / "result.txt", tmp_path / "features.csv"
    result.write_text("0.9\n")
    features.write_text("a\n1\n")
    results.prepare(result, features, tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []
    result.write_text("0.9\n")
    with pytest.raises(BadOutput):
        results.prepare(result, tmp_path / "absent" / "features.csv", tmp_path / "model.pt")
    assert not result.exists()


def test_prepare_refuses_paths_that_cannot_be_written(tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    (tmp_path / "file").touch()
    for result, said in (
        (tmp_path / "absent" / "r.txt", "folder does not exist"),
        (tmp_path / "file" / "r.txt", "not a folder"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(BadOutput, match=said):
            results.prepare(result, None, model)
    with pytest.raises(BadOutput, match="could not be written"):  # /proc says it is writable to root
        results.write_result(Path("/proc/result.txt"), 0.5)
    with pytest.raises(BadOutput, match="features file's folder does not exist"):
        results.prepare(tmp_path / "r.txt", tmp_path / "absent" / "f.csv", model)


@pytest.mark.parametrize("clash", ["model", "features"])
def test_prepare_never_lets_one_path_stand_for_two_things(tmp_path: Path, clash: str) -> None:
    model = tmp_path / "model.pt"
    model.write_text("weights")
    result = tmp_path / "sub" / ".." / ("model.pt" if clash == "model" else "r.txt")
    (tmp_path / "sub").mkdir()
    with pytest.raises(BadOutput, match="the same path"):
        results.prepare(result, tmp_path / "r.txt" if clash == "features" else None, model)
    assert model.read_text() == "weights"
