"""The fuzzing of model files: its inputs are the same again, it goes on where it stopped, and finds nothing."""

from __future__ import annotations

import json
import os
import time
import zipfile
from io import BytesIO
from pathlib import Path
from random import Random

import pytest

import fuzz_checkpoints
from fuzz_checkpoints import Outcome, State, inputs, loaded, main, outcomes, report
from fuzz_mutations import in_a_record
from fuzz_seeds import seeds

SOUND = seeds()


def test_every_format_has_a_sound_file() -> None:
    for files in SOUND.values():
        for outcome in outcomes(files):
            assert outcome.word in fuzz_checkpoints.FINE


def test_a_short_run_finds_nothing_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--runs", "150"]) == 0
    first = json.loads((tmp_path / "state.json").read_text())
    assert first["done"] == 150
    assert main([str(tmp_path), "--runs", "300"]) == 0
    state = loaded(tmp_path)
    assert sum(sum(counts.outcomes.values()) for counts in state.counts.values()) == state.done == 300
    assert "300 inputs" in capsys.readouterr().out


def test_inputs_are_the_same_again() -> None:
    assert list(inputs(SOUND, 1, 20, 10)) == list(inputs(SOUND, 1, 0, 30))[20:]


def test_records_keep_their_checksums() -> None:
    sound = SOUND["torch-zip"][0]
    for seed in range(20):
        changed = in_a_record(sound, Random(seed))
        assert changed != sound
        with zipfile.ZipFile(BytesIO(changed)) as archive:
            assert archive.testzip() is None


def test_what_a_reader_dies_of_is_told_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(path: Path) -> Outcome:
        if path.read_bytes() == b"deadly":
            os._exit(1)
        if path.read_bytes() == b"endless":
            while True:
                time.process_time()
        return Outcome("read")

    monkeypatch.setattr(fuzz_checkpoints, "outcome_of", dying)
    monkeypatch.setattr(fuzz_checkpoints, "_CPU_SECONDS", 0.2)
    words = [outcome.word for outcome in outcomes([b"fine", b"deadly", b"fine", b"endless", b"fine"])]
    assert words == ["read", "died", "read", "died", "read"]


def test_an_exception_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path) -> None:
        raise IndexError("no")

    monkeypatch.setattr(fuzz_checkpoints, "read", failing)
    monkeypatch.setattr(fuzz_checkpoints, "seeds", lambda: SOUND)
    assert main([str(tmp_path), "--runs", "3"]) == 1
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("IndexError")]) > 0
    assert "IndexError" in report(loaded(tmp_path))


def test_a_folder_without_a_state_starts_at_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path) == State()
