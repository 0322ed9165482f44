"""Where parameters are looked for when no flag names them, and where a run may write."""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest

from container_round import own_environment
from weightfeat.container import defaults
from weightfeat.container.flags import Request

NAMES = {
    "metaparameters_filepath": "metaparameters.json",
    "schema_filepath": "metaparameters_schema.json",
    "learned_parameters_dirpath": "learned_parameters",
}


def test_the_container_s_root_is_searched_before_the_repository_and_what_was_installed_last() -> None:
    repository = Path(__file__).resolve().parents[2]
    assert (Path("/"), repository, Path(sys.prefix) / "share" / "weightfeat") == defaults.ROOTS


def test_what_is_installed_is_what_the_repository_has() -> None:
    repository = Path(__file__).resolve().parents[2]
    build = tomllib.loads((repository / "pyproject.toml").read_text())
    listed = build["tool"]["setuptools"]["data-files"]
    places = {
        Path(folder).relative_to("share/weightfeat") / path.name
        for folder, patterns in listed.items()
        for pattern in patterns
        for path in repository.glob(pattern)
    }
    learned = (repository / NAMES["learned_parameters_dirpath"]).iterdir()
    assert places == {
        Path("metaparameters.json"),
        Path("metaparameters_schema.json"),
        *(path.relative_to(repository) for path in learned),
    }


@pytest.mark.parametrize("flag", NAMES)
def test_a_flag_comes_first_then_the_first_root_that_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    root, repository = tmp_path / "root", tmp_path / "repository"
    monkeypatch.setattr(defaults, "ROOTS", (root, repository))
    monkeypatch.setattr(defaults, "REPOSITORY", repository)
    absent = Request(mode="infer")
    assert defaults.resolve(absent, flag) == repository / NAMES[flag]
    root.mkdir()
    (root / NAMES[flag]).touch()
    assert defaults.resolve(absent, flag) == root / NAMES[flag]
    given = Request(mode="infer", **{flag: tmp_path / "given"})  # type: ignore[arg-type]
    assert defaults.resolve(given, flag) == tmp_path / "given"


def test_a_confined_process_keeps_its_temporary_files_in_scratch(tmp_path: Path) -> None:
    scratch = tmp_path / "made" / "here"
    with own_environment():
        defaults.confine(scratch)
        with tempfile.NamedTemporaryFile() as file:
            assert Path(file.name).parent == scratch
        for variable in ("TMPDIR", "JOBLIB_TEMP_FOLDER", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
            assert Path(os.environ[variable]).is_relative_to(scratch)


def test_a_scratch_that_cannot_be_made_does_not_stop_detection() -> None:
    with own_environment():
        defaults.confine(Path("/proc/scratch"))


@pytest.mark.parametrize("chosen", [None, "ACTIVE"])
def test_threads_wait_quietly_unless_the_user_chose(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None
) -> None:
    with own_environment():
        os.environ.pop("OMP_WAIT_POLICY", None)
        if chosen:
            os.environ["OMP_WAIT_POLICY"] = chosen
        defaults.wait_quietly()
        assert os.environ["OMP_WAIT_POLICY"] == (chosen or "PASSIVE")
