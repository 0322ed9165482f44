"""The command line over its whole way: digest, configure, cross-validate, tune and scan."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

import weightfeat
from container_round import Installed, install, small_network, write_parameters
from weightfeat import cli


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def digests(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digest folder that `weightfeat digest` makes of the round."""
    folder = tmp_path_factory.mktemp("digests") / "reference"
    assert run("digest", installed.round, "--store", folder, "--jobs", 1) == 0
    return folder


def run(*argv: object) -> int:
    return cli.main([str(argument) for argument in argv])


def parameter_flags(installed: Installed, *, learned: Path | None = None) -> list[object]:
    flags: list[object] = ["--metaparameters", installed.root / "metaparameters.json"]
    flags += ["--schema", installed.root / "metaparameters_schema.json"]
    return flags + (["--learned-parameters", learned] if learned else [])


def scan(installed: Installed, *files: Path, extra: tuple[str, ...] = ()) -> int:
    return run("scan", *files, *parameter_flags(installed, learned=installed.learned), *extra)


def test_digest_leaves_a_folder_that_replaces_the_models(installed: Installed, digests: Path) -> None:
    assert sorted(path.name for path in digests.iterdir()) == ["METADATA.csv", "digests", "index.csv"]
    assert len(list((digests / "digests").iterdir())) == 12
    assert len((digests / "index.csv").read_text().splitlines()) == 13


def test_digest_says_which_models_failed_and_keeps_the_others(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    round_ = tmp_path / "round"
    shutil.copytree(installed.round, round_)
    (round_ / "id-00000005" / "model.pt").write_text("spoilt")
    assert run("digest", round_, "--store", tmp_path / "store", "--jobs", 1) == 2
    said = capsys.readouterr().err
    assert "11 digested, 0 already in the store, 1 failed" in said
    assert len([line for line in said.splitlines() if "id-00000005" in line]) == 1
    assert "id-00000005" not in (tmp_path / "store" / "METADATA.csv").read_text()


def test_digest_leaves_out_a_folder_that_no_table_can_name(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    round_ = tmp_path / "round"
    shutil.copytree(installed.round, round_)
    shutil.copytree(round_ / "id-00000005", round_ / "id-caf\udce9")
    assert run("digest", round_, "--store", tmp_path / "store", "--jobs", 1) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == rf"left out: {round_}/id-caf\udce9: its name is not UTF-8; rename it"
    assert "12 digested, 0 already in the store, 0 failed" in said[-1]
    assert len((tmp_path / "store" / "index.csv").read_text().splitlines()) == 13


def test_digests_teach_what_the_round_teaches(installed: Installed, digests: Path, tmp_path: Path) -> None:
    flags = parameter_flags(installed, learned=tmp_path / "learned")
    flags += ["--recipes", installed.root / "recipes", "--jobs", 1]
    assert run("configure", "--digests", digests, *flags) == 0
    for path in installed.learned.iterdir():
        assert (tmp_path / "learned" / path.name).read_bytes() == path.read_bytes()


def test_cv_writes_and_prints_its_figures(
    installed: Installed, digests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--folds", 3, "--repeats", 2, "--jobs", 1, *parameter_flags(installed)]
    flags += ["--recipes", installed.root / "recipes"]
    assert run("cv", "--digests", digests, *flags, "--output", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "warning: 0 of 6 trojaned networks name their target: class evidence cannot be learned" in said.err
    assert "cross-entropy" in said.out
    assert "control" in said.out
    assert "leave one level of a recipe out" in said.out
    figures = json.loads((tmp_path / "out" / "cv.json").read_text())
    keys = {"cross_entropy", "cross_entropy_ci95", "brier", "roc_auc", "models", "strata", "control"}
    assert keys <= set(figures)
    assert figures["models"] == 12
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").read_text().splitlines()))
    assert list(rows[0]) == ["model", "truth", "probability", "fold", "architecture"]
    assert len(rows) == 24

    store = tmp_path / "store"
    shutil.copytree(digests, store)
    again = ["cv", "--round", installed.round, "--store", store, *flags, "--output", tmp_path / "again"]
    assert run(*again) == 0
    for name in ("cv.json", "predictions.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_tune_writes_metaparameters_within_bounds_and_resumes(
    installed: Installed, digests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--digests", digests, "--storage", tmp_path / "journal.log", "--jobs", 1]
    flags += parameter_flags(installed)
    found = tmp_path / "tuned" / "metaparameters.json"
    found.parent.mkdir()
    assert run("tune", *flags, "--trials", 1, "--output", found) == 0
    first = found.read_text()
    assert json.loads(first) == json.loads((installed.root / "metaparameters.json").read_text()) | {
        name: value for name, value in json.loads(first).items() if name in outside_the_search(installed)
    }
    assert run("tune", *flags, "--trials", 3, "--output", found) == 0
    assert (tmp_path / "journal.log").is_file()
    tuned = Installed(found.parent, installed.round)
    shutil.copy(installed.root / "metaparameters_schema.json", found.parent)
    flags = parameter_flags(tuned, learned=tmp_path / "learned")
    flags += ["--recipes", installed.root / "recipes"]
    assert run("configure", "--digests", digests, *flags) == 0


def outside_the_search(installed: Installed) -> set[str]:
    """Parameters whose present value the search would not draw, so that even its first trial changes them."""
    values = json.loads((installed.root / "metaparameters.json").read_text())
    rules = json.loads((installed.root / "metaparameters_schema.json").read_text())["properties"]
    return {
        name
        for name, value in values.items()
        if "suggested_minimum" in rules[name]
        and not rules[name]["suggested_minimum"] <= value <= rules[name]["suggested_maximum"]
    }


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"weightfeat {weightfeat.__version__}\n"


def test_digest_keeps_another_rounds_store_as_it_is(
    installed: Installed, digests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether its models have other names or, as in any two rounds, the same."""
    store, other = tmp_path / "store", tmp_path / "other"
    shutil.copytree(digests, store)
    before = {path.name: path.read_bytes() for path in store.glob("*.csv")}
    shutil.copytree(installed.round, other)
    torch.save(small_network(77), other / "id-00000000" / "model.pt")
    assert run("digest", other, "--store", store, "--jobs", 1) == 2
    assert "1 networks listed here are not of" in capsys.readouterr().err
    (other / "id-00000003").rename(other / "id-00000099")
    metadata = other / "METADATA.csv"
    metadata.write_text(metadata.read_text().replace("id-00000003", "id-00000099"))
    assert run("digest", other, "--store", store, "--jobs", 1) == 2
    assert "(id-00000003)" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in store.glob("*.csv")} == before
    assert run("digest", installed.round, "--store", store, "--jobs", 1) == 0


def test_a_store_that_cannot_be_written_is_refused_before_any_work(
    installed: Installed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert run("digest", installed.round, "--store", file, "--jobs", 1) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "the digest store cannot be made" in line


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["cv", "--digests", "absent"], "METADATA.csv: no such file"),
        (["cv", "--round", "absent"], "absent: no such folder"),
        (["cv", "--digests", "absent", "--journals", "kept"], "--journals: there is no search"),
        (["cv", "--digests", "absent", "--nested-start"], "--nested-start: there is no search"),
        (["digest", "absent", "--store", "s"], "absent: no such folder"),
        (["cv", "--digests", "absent", "--metaparameters", "gone.json"], "gone.json"),
        (["cv", "--digests", "absent", "--recipes", "gone"], "gone/METADATA.csv: no such file"),
        (
            ["configure", "--digests", "absent", "--recipes", "gone", "--learned-parameters", "new"],
            "gone/METADATA.csv",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    argv: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_parameters(tmp_path)
    parameters = ["--metaparameters", "metaparameters.json", "--schema", "metaparameters_schema.json"]
    assert run(*argv[:1], *(parameters if argv[0] != "digest" else []), *argv[1:]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["cv"],
        ["cv", "--digests", "a", "--round", "b"],
        ["scan"],
        ["cv", "--folds", "1"],
        ["cv", "--seed", "-1"],
        ["tune", "--digests", "a", "--output", "b", "--recipes", "c"],
    ],
)
def test_a_wrong_command_line_shows_the_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2
    assert "usage: weightfeat" in capsys.readouterr().err
