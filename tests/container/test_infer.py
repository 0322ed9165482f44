"""The container as a harness sees it: exit codes, result files, log lines, and nothing else on disk."""

from __future__ import annotations

import csv
import io
import math
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from container_round import Installed, install, run_container, small_network, write_parameters
from weightfeat.commands import defaults
from weightfeat.rounds import scanning


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("container"))


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one `error:` line a failed run prints, and no traceback."""
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    (line,) = [line for line in said.err.splitlines() if not line.startswith("weightfeat: ")]
    assert line.startswith("error: ")
    return line


def test_a_model_becomes_one_float_between_0_and_1(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = installed.score(installed.model, tmp_path)
    said = capsys.readouterr()
    assert code == 0
    assert said.out == ""
    (line,) = result.read_text().splitlines()
    assert 0.0 <= float(line) <= 1.0
    assert any("architecture" in step and "6 classes" in step for step in said.err.splitlines())
    assert any(f"probability {float(line):.6f}" in step for step in said.err.splitlines())


def test_it_learned_something_about_the_models_it_saw(installed: Installed, tmp_path: Path) -> None:
    scores = []
    for folder in sorted(installed.round.glob("id-*")):
        code, result = installed.score(folder / "model.pt", tmp_path)
        assert code == 0
        scores.append(float(result.read_text()))
    assert sum(scores[1::2]) > sum(scores[::2])


def test_every_round_s_flags_give_the_same_result(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "ROOTS", (tmp_path / "absent", installed.root))
    result = tmp_path / "result.txt"
    base: list[object] = ["--model_filepath", installed.model, "--result_filepath", result]
    base += ["--scratch_dirpath", tmp_path / "scratch", "--examples_dirpath", tmp_path]
    text = ["--cls_token_is_first", "--tokenizer_filepath", "t.pt", "--embedding_filepath", "e.pt"]
    late = ["--round_training_dataset_dirpath", tmp_path, *installed.parameters()]
    features = ["--features_filepath", tmp_path / "features.csv"]
    lines = [
        base,
        [*base, *text],
        [*base, *text, *features, *late],
        [*base, *features, *late, "--source_dataset_dirpath", tmp_path],
        ["infer", *base, *late],
        ["infer", *base, "--never_heard_of", "it"],
    ]
    results = set()
    for argv in lines:
        assert run_container(*argv) == 0
        results.add(result.read_bytes())
        result.unlink()
    assert len(results) == 1


def test_unknown_flags_cost_one_warning(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert installed.score(installed.model, tmp_path, "--new_flag", "7", "--other")[0] == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == ["weightfeat: warning: unknown arguments left aside: --new_flag 7 --other"]


def test_the_features_file_has_the_detector_s_features(installed: Installed, tmp_path: Path) -> None:
    path = tmp_path / "features.csv"
    assert installed.score(installed.model, tmp_path, "--features_filepath", path)[0] == 0
    names, values = csv.reader(io.StringIO(path.read_text()))
    assert len(names) == len(set(names)) == len(values) > 50
    assert all(value == "" or not math.isnan(float(value)) for value in values)


def test_two_identical_runs_give_identical_bytes(installed: Installed, tmp_path: Path) -> None:
    outputs = []
    for run in ("first", "second"):
        folder = tmp_path / run
        folder.mkdir()
        assert installed.score(installed.model, folder, "--features_filepath", folder / "f.csv")[0] == 0
        assert installed.configure(folder / "scratch", learned=folder / "learned") == 0
        shutil.rmtree(folder / "scratch")
        outputs.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 3


def make_no_head(path: Path) -> None:
    torch.save(nn.Sequential(nn.BatchNorm2d(4)).state_dict(), path)


def make_nan(path: Path) -> None:
    network = small_network(0)
    with torch.no_grad():
        next(network.parameters())[0] = math.nan
    torch.save(network, path)


def make_infinite(path: Path) -> None:
    network = small_network(0)
    with torch.no_grad():
        list(network.parameters())[-1][0] = math.inf
    torch.save(network.state_dict(), path)


def make_truncated(path: Path) -> None:
    torch.save(small_network(0), path)
    path.write_bytes(path.read_bytes()[:-2000])


BAD_MODELS = {
    "empty": lambda path: path.touch(),
    "truncated": make_truncated,
    "text": lambda path: path.write_text("0.5\n"),
    "picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)),
    "folder": lambda path: path.mkdir(),
    "absent": lambda path: None,
    "no head": make_no_head,
    "nan": make_nan,
    "infinite": make_infinite,
    "a plain pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
}


@pytest.mark.parametrize("kind", BAD_MODELS)
def test_a_bad_model_is_one_line_an_exit_code_and_no_result(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    model = tmp_path / "model.pt"
    BAD_MODELS[kind](model)
    (tmp_path / "result.txt").write_text("0.123\n")
    features = tmp_path / "features.csv"
    code, result = installed.score(model, tmp_path, "--features_filepath", features)
    assert code == 2
    assert str(model) in error_line(capsys)
    assert not result.exists(), "an earlier model's result must not pass for this one's"
    assert not features.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"infer_clip": 7.0}, "infer_clip"),
        ({"train_num_leaves": 1}, "train_num_leaves"),
        ({"train_calibration": "platt"}, "train_calibration"),
        ({"infer_mood": 0.5}, "infer_mood"),
    ],
)
def test_a_bad_metaparameter_is_named_in_both_modes(
    installed: Installed,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    said: str,
) -> None:
    spoilt = Installed(write_parameters(tmp_path / "parameters", **changes), installed.round)
    code, result = spoilt.score(installed.model, tmp_path)
    assert code == 2
    assert said in error_line(capsys)
    assert not result.exists()
    assert spoilt.configure(tmp_path / "scratch", learned=tmp_path / "learned") == 2
    assert said in error_line(capsys)
    assert not (tmp_path / "learned").exists()


def test_absent_and_foreign_learned_parameters_are_one_line(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = Installed(write_parameters(tmp_path / "parameters"), installed.round)
    code, result = bare.score(installed.model, tmp_path)
    assert code == 2
    assert str(bare.learned) in error_line(capsys)
    assert not result.exists()
    bare.learned.mkdir()
    (bare.learned / "detector.json").write_text('{"version": 99}')
    assert bare.score(installed.model, tmp_path)[0] == 2
    error_line(capsys)


@pytest.mark.parametrize("kind", ["absent folder", "a folder", "under a file", "the model", "/proc"])
def test_an_unwritable_result_path_is_one_line(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    model = tmp_path / "model.pt"
    shutil.copy(installed.model, model)
    content = model.read_bytes()
    result = {
        "absent folder": tmp_path / "absent" / "result.txt",
        "a folder": tmp_path,
        "under a file": model / "result.txt",
        "the model": model,
        "/proc": Path("/proc/weightfeat-result.txt"),
    }[kind]
    code = run_container(
        *("--model_filepath", model, "--result_filepath", result, "--scratch_dirpath", tmp_path / "scratch"),
        *installed.parameters(),
    )
    assert code == 2
    assert str(result) in error_line(capsys)
    assert model.read_bytes() == content


def test_missing_flags_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, flag in (
        ([], "--model_filepath"),
        (["--model_filepath", "m"], "--result_filepath"),
        (["configure"], "--configure_models_dirpath"),
        (["--configure_mode", "--configure_models_dirpath", tmp_path], "--scratch_dirpath"),
        (["--model_filepath"], "--model_filepath"),
    ):
        assert run_container(*argv) == 2
        assert flag in error_line(capsys)


class Shell:
    """Pickles to a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return os.system, (self.command,)


def test_a_pickle_that_calls_os_system_yields_its_probability_and_a_finding(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace, clean, hostile = tmp_path / "ran", tmp_path / "clean.pt", tmp_path / "hostile.pt"
    state = small_network(3).state_dict()
    torch.save({"state_dict": state}, clean)
    torch.save({"state_dict": state, "hook": Shell(f"touch {trace}")}, hostile)
    assert installed.score(clean, tmp_path)[0] == 0
    expected = (tmp_path / "result.txt").read_bytes()
    capsys.readouterr()
    code, result = installed.score(hostile, tmp_path)
    assert code == 0
    assert not trace.exists()
    assert result.read_bytes() == expected
    findings = [line for line in capsys.readouterr().err.splitlines() if "finding: foreign-callable" in line]
    assert len(findings) == 1
    assert "system" in findings[0]


def test_what_nobody_foresaw_is_one_line_and_a_traceback_only_on_request(
    installed: Installed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr(scanning, "digest_with_redraws", explode)
    code, result = installed.score(installed.model, tmp_path)
    assert code == 1
    assert error_line(capsys) == "error: unforeseen ZeroDivisionError: division\\nby zero"
    assert not result.exists()
    monkeypatch.setenv("WEIGHTFEAT_DEBUG", "1")
    assert installed.score(installed.model, tmp_path)[0] == 1
    assert "Traceback" in capsys.readouterr().err


def test_infer_values_change_the_result_without_another_configure(
    installed: Installed, tmp_path: Path
) -> None:
    changed = Installed(
        write_parameters(tmp_path / "parameters", infer_clip=0.3, infer_prior=0.2), installed.round
    )
    shutil.copytree(installed.learned, changed.learned)
    results = []
    for container in (installed, changed):
        for folder in sorted(installed.round.glob("id-*"))[:4]:
            assert container.score(folder / "model.pt", tmp_path)[0] == 0
            results.append(float((tmp_path / "result.txt").read_text()))
    assert results[:4] != results[4:]
    assert all(0.3 <= p <= 0.7 for p in results[4:])
