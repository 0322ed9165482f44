"""Where parameters are looked for when no flag names them."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from weightfeat.commands import defaults

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
def test_the_first_root_that_has_the_file_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    root, repository = tmp_path / "root", tmp_path / "repository"
    monkeypatch.setattr(defaults, "ROOTS", (root, repository))
    monkeypatch.setattr(defaults, "REPOSITORY", repository)
    assert defaults.default(flag) == repository / NAMES[flag]
    root.mkdir()
    (root / NAMES[flag]).touch()
    assert defaults.default(flag) == root / NAMES[flag]
