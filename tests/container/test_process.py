"""The container as a process: what it imports, where it writes, and what a kill leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from container_round import REPOSITORY, Installed, install, write_parameters

WATCH = Path(__file__).resolve().parents[1] / "container_watch.py"
NOT_FOR_DETECTION = {
    *(
        "torch",
        "torchvision",
        "scipy",
        "pandas",
        "sklearn",
        "lightgbm",
        "optuna",
        "matplotlib",
        "h5py",
        "pytest",
    )
}

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("container"), few=False)  # programs of their own have all recipes


def start(command: list[object], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with nowhere to write by default, as in a container without home and /tmp."""
    nowhere = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env={"PATH": os.environ["PATH"], **nowhere, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def watched(*argv: object, **environment: str) -> dict[str, Any]:
    done = start([WATCH, *argv], **environment)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def outside(paths: list[str], *allowed: Path) -> list[str]:
    """Paths that are neither allowed, nor below an allowed folder, nor a device."""
    places = [str(place) for place in allowed] + ["/dev"]
    return [p for p in paths if not any(p == place or p.startswith(place + "/") for place in places)]


def test_detection_imports_no_training_library_and_writes_only_what_it_was_given(
    installed: Installed, tmp_path: Path
) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    report = watched(
        *("--model_filepath", installed.model, "--result_filepath", out / "result.txt"),
        *("--features_filepath", out / "features.csv", "--scratch_dirpath", scratch),
        *installed.parameters(),
    )
    assert report["code"] == 0
    assert NOT_FOR_DETECTION.isdisjoint(report["modules"])
    assert report["forbidden"] == []
    assert outside(report["written"], out, scratch) == []
    assert sorted(path.name for path in out.iterdir()) == ["features.csv", "result.txt"]


def test_configure_writes_only_to_scratch_and_learned_parameters(
    installed: Installed, tmp_path: Path
) -> None:
    learned, scratch = tmp_path / "learned", tmp_path / "scratch"
    report = watched(
        *("configure", "--scratch_dirpath", scratch, "--configure_models_dirpath", installed.round),
        *installed.parameters(learned=learned),
        *("--jobs", 1),
    )
    assert report["code"] == 0
    assert outside(report["written"], learned, scratch, tmp_path) == []
    strays = [path for path in tmp_path.iterdir() if path not in (learned, scratch)]
    assert strays == []


def test_detect_py_runs_from_anywhere_with_nowhere_to_write(installed: Installed, tmp_path: Path) -> None:
    result = tmp_path / "result.txt"
    detect = REPOSITORY / "detect.py"
    flags = ["--model_filepath", installed.model, "--result_filepath", result, *installed.parameters()]
    before = {path for path in REPOSITORY.iterdir()}
    done = start([detect, *flags])
    assert done.returncode == 0, done.stderr
    assert 0.0 <= float(result.read_text()) <= 1.0
    assert {path for path in REPOSITORY.iterdir()} == before
    failed = start(
        [detect, "--model_filepath", tmp_path, "--result_filepath", result, *installed.parameters()]
    )
    assert failed.returncode == 2
    assert not result.exists()
    assert failed.stderr.splitlines()[-1].startswith("error: ")


def test_configure_in_several_processes_gives_the_bytes_of_one(installed: Installed, tmp_path: Path) -> None:
    done = start(
        [
            *(REPOSITORY / "detect.py", "configure", "--scratch_dirpath", tmp_path / "scratch"),
            *("--configure_models_dirpath", installed.round),
            *installed.parameters(learned=tmp_path / "learned"),
            *("--jobs", 2, "--device", "cpu"),
        ]
    )
    assert done.returncode == 0, done.stderr
    assert file_bytes(tmp_path / "learned") == file_bytes(installed.learned)


@pytest.mark.parametrize(
    ("place", "event", "kept"),
    [
        pytest.param("scratch", 5, "old", id="while digesting"),
        pytest.param("learned", 1, "old", id="before the first new file"),
        pytest.param("learned", 2, "old", id="before the new set is named"),
        pytest.param("learned", 3, "new", id="before the old files are removed"),
    ],
)
def test_a_killed_configure_leaves_usable_learned_parameters(
    installed: Installed, tmp_path: Path, place: str, event: int, kept: str
) -> None:
    scratch, learned = tmp_path / "scratch", tmp_path / "learned"
    shutil.copytree(installed.learned, learned)
    parameters = write_parameters(tmp_path / "parameters", few=False, train_num_trees=13)
    changed = Installed(parameters, installed.round)
    configure = ["configure", "--scratch_dirpath", scratch, "--configure_models_dirpath", installed.round]
    configure += [*changed.parameters(learned=learned), "--jobs", 1]
    done = start([WATCH, *configure], KILL_UNDER=str(tmp_path / place), KILL_AT=str(event))
    assert done.returncode == -signal.SIGKILL, done.stderr

    code, result = installed.score(installed.model, tmp_path, "--learned_parameters_dirpath", learned)
    assert code == 0
    after_kill = result.read_text()
    _, result = installed.score(installed.model, tmp_path)
    assert (after_kill == result.read_text()) == (kept == "old")
    # The next run mends whatever the killed one left lying about.
    assert changed.configure(scratch, learned=learned) == 0
    assert changed.configure(scratch, learned=tmp_path / "fresh") == 0
    assert file_bytes(learned) == file_bytes(tmp_path / "fresh")


def file_bytes(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
