"""A GPU that fails under the flags a harness passes: a result, one warning, exit code 0."""

from __future__ import annotations

import _ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from array_api_compat import torch as xp

from container_round import REPOSITORY, Installed, run_container, write_parameters, write_round
from weightfeat.digest import place
from weightfeat.digest.place import Place

WATCH = Path(__file__).resolve().parents[1] / "container_watch.py"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Installed]:
    """Detectors that read the layers' blocks, which a GPU makes faster, and one that does not."""
    top = tmp_path_factory.mktemp("gpu")
    round_ = write_round(top / "round")
    found = {}
    for layers in (False, True):
        found[layers] = Installed(write_parameters(top / str(layers), train_block_layers=layers), round_)
        assert found[layers].configure(top / "scratch") == 0
    return found


def flags(installed: Installed, result: Path) -> list[object]:
    return ["--model_filepath", installed.model, "--result_filepath", result, *installed.parameters()]


def warnings_in(said: str) -> list[str]:
    return [line for line in said.splitlines() if "warning: " in line]


@pytest.mark.parametrize("layers", [False, True])
def test_a_driver_without_a_gpu_under_nist_s_flags(
    layers: bool, installed: dict[bool, Installed], tmp_path: Path
) -> None:
    """With shipped blocks torch is not even imported."""
    shutil.copy(_ctypes.__file__, tmp_path / "libcuda.so.1")
    plain, result = tmp_path / "plain.txt", tmp_path / "result.txt"
    assert run_container(*flags(installed[layers], plain), "--device", "cpu") == 0
    done = subprocess.run(
        [sys.executable, str(WATCH), *map(str, flags(installed[layers], result))],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["code"], "torch" in report["modules"]) == (0, layers), done.stderr
    assert len(warnings_in(done.stderr)) == layers
    assert "made on the processor" in done.stderr
    assert result.read_bytes() == plain.read_bytes()


def test_a_failing_call_of_cuda_under_nist_s_flags(
    installed: dict[bool, Installed],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    plain, result = tmp_path / "plain.txt", tmp_path / "result.txt"
    assert run_container(*flags(installed[True], plain), "--device", "cpu") == 0
    monkeypatch.setattr(place, "_gpu", lambda: Place(xp, torch.device("cpu")))
    monkeypatch.setattr(xp.linalg, "eigvalsh", fail)
    capsys.readouterr()
    assert run_container(*flags(installed[True], result)) == 0
    (warning,) = warnings_in(capsys.readouterr().err)
    assert "CUDA out of memory" in warning
    assert result.read_bytes() == plain.read_bytes()


def test_configure_says_once_where_it_digests_and_why(
    installed: dict[bool, Installed],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its workers are told, and do not find out one by one."""
    monkeypatch.setattr(place, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no CUDA here")))
    place._gpu.cache_clear()
    capsys.readouterr()
    code = run_container(
        *("configure", "--scratch_dirpath", tmp_path / "scratch"),
        *("--configure_models_dirpath", installed[False].round),
        *installed[False].parameters(learned=tmp_path / "learned"),
        *("--jobs", 2),
    )
    place._gpu.cache_clear()
    said = capsys.readouterr().err
    assert code == 0
    assert len([line for line in warnings_in(said) if "GPU" in line]) == 1
    assert said.count("digests are made on the processor") == 1
