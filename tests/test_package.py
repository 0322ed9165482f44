"""The package as it is released: built from the sources or from their archive, and of use wherever it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import shipping
import weightfeat
from container_round import REPOSITORY
from weightfeat.commands.arguments import other_recipes
from weightfeat.server.preflight.behaviour import small_model

pytestmark = pytest.mark.e2e

SOURCES = ("weightfeat", "tools", "pyproject.toml", "README.md", "MANIFEST.in", *shipping.SHIPPED)
BASE = Path(getattr(sys, "_base_executable", sys.executable))
"""A Python outside our virtual environment: it knows no weightfeat."""
NOT_NEEDED = ("weightfeat", "__editable__", "torch", "functorch", "__pycache__", "_virtualenv", "distutils-")


@dataclass(frozen=True)
class Place:
    """An installation: the folder of its `weightfeat` package, how it is started, in which folder and variables."""

    package: Path
    command: tuple[str, ...]
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: object, command: tuple[object, ...] = ()) -> subprocess.CompletedProcess[str]:
        words = [*(command or self.command), *arguments]
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.variables}
        return subprocess.run(
            [str(word) for word in words], cwd=self.folder, env=variables, capture_output=True, text=True
        )


def build(source: Path, output: Path, *flags: str) -> Path:
    """The wheel that `python -m build` leaves in `output`."""
    command = [sys.executable, "-m", "build", "--no-isolation", *flags, "--outdir", str(output), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = output.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a package is built from: a build leaves files beside its sources."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sources' archive, as a release is."""
    return build(source, tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the packages that are installed here, but for ours and torch: nothing has to be fetched."""
    folder = tmp_path_factory.mktemp("others")
    for site in {Path(place).resolve() for place in sys.path if place.endswith(("-packages", "/site"))}:
        for entry in site.iterdir() if site.is_dir() else ():
            if not entry.name.startswith(NOT_NEEDED) and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "model.pt")


def install(python: Path, wheel: Path, *flags: object, **variables: str) -> None:
    """pip's part of an installation for `python`. What else is installed there is neither looked at nor removed."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    command += ["--no-index", "--ignore-installed", "--break-system-packages", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *map(str, flags), str(wheel)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def package_below(folder: Path) -> Path:
    (found,) = (path.parent for path in folder.rglob("py.typed") if path.parent.name == "weightfeat")
    return found


def in_a_venv(folder: Path, wheel: Path, others: Path) -> Place:
    venv.create(folder / "venv", symlinks=True)
    install(folder / "venv" / "bin" / "python", wheel)
    package = package_below(folder)
    (package.parent / "others.pth").write_text(f"{others}\n")
    return Place(package, (str(folder / "venv" / "bin" / "weightfeat"),), folder)


def in_a_target(folder: Path, wheel: Path, others: Path) -> Place:
    """Named by relative paths, as one types them."""
    install(BASE, wheel, "--target", folder / "target")
    variables = {"PYTHONPATH": os.pathsep.join(("target", os.path.relpath(others, folder)))}
    return Place(folder / "target" / "weightfeat", (str(BASE), "-m", "weightfeat"), folder, variables)


def from_inside_a_target(folder: Path, wheel: Path, others: Path) -> Place:
    """Found because it is started there: no variable names it."""
    place, variables = in_a_target(folder, wheel, others), {"PYTHONPATH": str(others)}
    return Place(place.package, place.command, folder / "target", variables)


def under_a_prefix(folder: Path, wheel: Path, others: Path) -> Place:
    install(BASE, wheel, "--prefix", folder / "prefix")
    package, (script,) = package_below(folder), folder.rglob("bin/weightfeat")
    variables = {"PYTHONPATH": os.pathsep.join((str(package.parent), str(others)))}
    return Place(package, (str(script),), folder, variables)


def for_a_user(folder: Path, wheel: Path, others: Path) -> Place:
    """Below HOME, as all that it needs; a detector that is watched has another HOME."""
    install(BASE, wheel, "--user", PYTHONUSERBASE=str(folder / ".local"))
    package = package_below(folder)
    (package.parent / "others.pth").write_text(f"{others}\n")
    return Place(package, (str(folder / ".local" / "bin" / "weightfeat"),), folder)


WAYS: list[Callable[[Path, Path, Path], Place]] = [
    *(in_a_venv, in_a_target, from_inside_a_target, under_a_prefix, for_a_user)
]


@pytest.mark.parametrize("way", WAYS)
def test_it_scans_and_passes_its_check_wherever_it_is_installed(
    way: Callable[[Path, Path, Path], Place], wheel: Path, others: Path, model: Path, tmp_path: Path
) -> None:
    place = way(tmp_path, wheel, others)
    scanned = place.run("scan", model, "--format", "json")
    assert scanned.returncode == 0, scanned.stderr
    assert json.loads(scanned.stdout)["files"][0]["probability"] == pytest.approx(
        weightfeat.scan(model).probability, abs=1e-9
    )
    checked = place.run("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert " 0 problems" in checked.stdout.splitlines()[-1]


def test_a_wheel_of_the_archive_is_that_of_the_sources(source: Path, wheel: Path, tmp_path: Path) -> None:
    direct = build(source, tmp_path, "--wheel")
    assert contents(direct) == contents(wheel)


def test_a_wheel_holds_the_package_and_what_its_commands_default_to(wheel: Path) -> None:
    found = {name: data for name, data in contents(wheel).items() if name.startswith("weightfeat/")}
    kinds = (".py", ".json", ".typed", ".css", ".html", ".js")
    modules = [path for path in (REPOSITORY / "weightfeat").rglob("*") if path.suffix in kinds]
    shipped = [
        path
        for name in shipping.SHIPPED
        for path in ([REPOSITORY / name] if (REPOSITORY / name).is_file() else (REPOSITORY / name).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    expected = {str(path.relative_to(REPOSITORY)): path.read_bytes() for path in modules}
    expected |= {f"weightfeat/shipped/{path.relative_to(REPOSITORY)}": path.read_bytes() for path in shipped}
    assert found == expected
    assert "weightfeat/py.typed" in found


def test_what_an_earlier_build_shipped_does_not_linger(source: Path, tmp_path: Path) -> None:
    again = tmp_path / "source"
    shutil.copytree(source, again)
    old = again / "build" / "lib" / "weightfeat" / "shipped" / "learned_parameters" / "tables-0.npz"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.touch()
    names = contents(build(again, tmp_path / "out", "--wheel"))
    assert not [name for name in names if name.endswith("tables-0.npz")]


def test_a_package_is_not_built_of_half_a_repository(source: Path, tmp_path: Path) -> None:
    half = tmp_path / "source"
    shutil.copytree(source, half)
    shutil.rmtree(half / "recipes")
    with pytest.raises(AssertionError, match="recipes: is not at the top of the repository"):
        build(half, tmp_path / "out", "--wheel")


def test_an_installed_one_learns_and_serves_as_a_checkout_does(
    wheel: Path, others: Path, model: Path, tmp_path: Path
) -> None:
    place = in_a_venv(tmp_path, wheel, others)
    python = Path(place.command[0]).with_name("python")
    ask = "from weightfeat.commands.arguments import other_recipes; print(len(other_recipes().names))"
    here = other_recipes()
    assert here is not None
    assert place.run(command=(python, "-c", ask)).stdout == f"{len(here.names)}\n"
    result = tmp_path / "result.txt"
    flags = (
        "--model_filepath",
        model,
        "--result_filepath",
        result,
        "--scratch_dirpath",
        tmp_path / "scratch",
    )
    served = place.run("infer", *flags, command=(python, "-m", "weightfeat.container"))
    assert served.returncode == 0, served.stderr
    assert float(result.read_text()) == pytest.approx(weightfeat.scan(model).probability, abs=1e-9)
    missing = place.run("--help", command=(python, "-m", "weightfeat.container"))
    assert "usage: python -m weightfeat.container " in missing.stdout


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
