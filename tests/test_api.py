"""What the package offers to other programs: its names, what importing it costs, and every example in its text."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weightfeat
from container_round import REPOSITORY
from weightfeat import errors
from weightfeat.server.preflight.behaviour import small_model

REFUSALS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
DEAR = ("numpy", "pandas", "torch", "sklearn", "lightgbm", "h5py")
WRITTEN = [
    path
    for pattern in ("weightfeat/**/*.py", "docs/**/*.md", "README.md")
    for path in sorted(REPOSITORY.glob(pattern))
    if ">>> " in path.read_text()
]


@pytest.fixture
def at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an example finds: two weight files in its folder, and these names."""
    monkeypatch.chdir(tmp_path)
    small_model(tmp_path / "model.pt")
    small_model(tmp_path / "other.pt", seed=1)
    return {"weightfeat": weightfeat, "Path": Path, "np": np, "os": os}


def examples(path: Path, at_hand: dict[str, Any]) -> list[doctest.DocTest]:
    """A test a docstring, which sees its module's names as well; or one of the whole page."""
    if path.suffix == ".md":
        page = re.sub(r"^```.*$", "", path.read_text(), flags=re.MULTILINE)
        return [doctest.DocTestParser().get_doctest(page, at_hand, path.name, str(path), 0)]
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    module = import_module(".".join(part for part in parts if part != "__init__"))
    found = doctest.DocTestFinder().find(module, extraglobs=at_hand)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_example_gives_what_it_shows(path: Path, at_hand: dict[str, Any]) -> None:
    runner, said = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS), list[str]()
    tests = examples(path, at_hand)
    assert tests
    for test in tests:
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def test_what_is_offered_is_a_short_list_that_is_all_there() -> None:
    calls = {"scan", "load", "read", "digest_file", "Detector", "Verdict"}
    assert set(weightfeat.__all__) == calls | {kind.__name__ for kind in REFUSALS}
    assert weightfeat.__all__ == sorted(weightfeat.__all__)
    assert set(weightfeat.__all__) <= set(dir(weightfeat))
    assert all(getattr(weightfeat, kind.__name__) is kind for kind in REFUSALS)


@pytest.mark.parametrize("name", weightfeat.__all__)
def test_each_name_has_an_example_of_its_own(name: str) -> None:
    text = getattr(weightfeat, name).__doc__
    assert doctest.DocTestParser().get_examples(text)


def test_a_name_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(AttributeError, match="module 'weightfeat' has no attribute 'digests'"):
        weightfeat.digests  # type: ignore[attr-defined]  # noqa: B018


def imported(code: str) -> set[str]:
    """Top-level modules of a fresh Python after `code`."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_importing_it_costs_nothing_and_a_scan_no_torch(tmp_path: Path) -> None:
    assert imported("import weightfeat").isdisjoint(DEAR)
    model = small_model(tmp_path / "model.pt")
    found = imported(f"import weightfeat\nprint(weightfeat.scan({str(model)!r}).word)")
    assert found.isdisjoint({"pandas", "torch", "sklearn", "lightgbm", "h5py"})


def test_a_scan_is_that_of_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from weightfeat.cli import main

    model = small_model(tmp_path / "model.pt")
    verdict = weightfeat.scan(str(model), device="cpu")
    assert main(["scan", str(model), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(verdict.word)
    assert f" {verdict.probability:.2f} [" in said
    assert weightfeat.scan(model, weightfeat.load(), device="cpu").reasons == verdict.reasons


def test_a_detector_is_read_from_the_folder_that_is_given(tmp_path: Path) -> None:
    weightfeat.load().save(tmp_path / "learned")
    values = (
        (REPOSITORY / "metaparameters.json").read_text().replace('"infer_clip": 0.01', '"infer_clip": 0.3')
    )
    (tmp_path / "metaparameters.json").write_text(values)
    detector = weightfeat.load(tmp_path / "learned", metaparameters=str(tmp_path / "metaparameters.json"))
    assert detector.params.infer_clip == 0.3
    assert 0.3 <= weightfeat.scan(small_model(tmp_path / "model.pt"), detector).probability <= 0.7
