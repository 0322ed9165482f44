"""Where files and program are looked for when no flag names them, in a checkout and in a package that was built."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from container_round import REPOSITORY
from weightfeat.commands import defaults
from weightfeat.commands.arguments import other_recipes
from weightfeat.errors import BadRound

NAMES = {
    "metaparameters_filepath": "metaparameters.json",
    "schema_filepath": "metaparameters_schema.json",
    "learned_parameters_dirpath": "learned_parameters",
    "recipes_dirpath": "recipes",
}


def elsewhere(place: Path, *, shipped: bool) -> Path:
    """A copy of the package in `place`, beside other people's files of the names that are looked for."""
    shutil.copytree(
        REPOSITORY / "weightfeat", place / "weightfeat", ignore=shutil.ignore_patterns("__pycache__")
    )
    for home in [place, *([place / "weightfeat" / "shipped"] if shipped else [])]:
        home.mkdir(exist_ok=True)
        for name in NAMES.values():
            (home / name).touch()
    (place / "detect.py").touch()
    return place


def found(place: Path) -> list[Path]:
    """What the package in `place` takes: the four defaults, then the program."""
    code = (
        "import pathlib\nfrom weightfeat.commands import defaults\n"
        "assert defaults.ROOTS[0] == pathlib.Path('/')\ndefaults.ROOTS = defaults.ROOTS[1:]\n"
        f"print(*map(defaults.default, {list(NAMES)}), defaults.program(), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    return [Path(line) for line in done.stdout.splitlines()]


def test_a_checkout_takes_its_own_files(tmp_path: Path) -> None:
    place = elsewhere(tmp_path, shipped=False)
    assert found(place) == [*(place / name for name in NAMES.values()), place / "detect.py"]


def test_a_checkout_without_detect_py_takes_the_module(tmp_path: Path) -> None:
    (elsewhere(tmp_path, shipped=False) / "detect.py").unlink()
    assert found(tmp_path)[-1] == tmp_path / "weightfeat" / "container" / "__main__.py"


def test_a_built_package_takes_what_it_ships_whatever_lies_beside_it(tmp_path: Path) -> None:
    package = elsewhere(tmp_path, shipped=True) / "weightfeat"
    shipped = [package / "shipped" / name for name in NAMES.values()]
    assert found(tmp_path) == [*shipped, package / "container" / "__main__.py"]


@pytest.mark.parametrize("flag", NAMES)
def test_the_first_root_that_has_the_file_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    root, home = tmp_path / "root", tmp_path / "home"
    monkeypatch.setattr(defaults, "ROOTS", (root, home))
    monkeypatch.setattr(defaults, "HOME", home)
    assert defaults.default(flag) == home / NAMES[flag]
    root.mkdir()
    (root / NAMES[flag]).touch()
    assert defaults.default(flag) == root / NAMES[flag]


def test_the_container_s_root_is_searched_first_and_this_checkout_after_it() -> None:
    assert (Path("/"), REPOSITORY) == defaults.ROOTS


def test_recipes_that_were_not_shipped_are_done_without_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(defaults, "ROOTS", ())
    monkeypatch.setattr(defaults, "HOME", tmp_path)
    with caplog.at_level(logging.WARNING):
        assert other_recipes() is None
    (line,) = caplog.messages
    assert str(tmp_path / "recipes") in line
    assert "not learned from" in line


def test_recipes_that_were_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(BadRound, match=r"absent/METADATA\.csv: no such file; expected a digest folder"):
        other_recipes(tmp_path / "absent")


def test_recipes_are_those_shipped_where_no_other_folder_is_given() -> None:
    shipped = other_recipes()
    assert shipped is not None
    again = other_recipes(REPOSITORY / "recipes")
    assert again is not None
    assert shipped.names == again.names
