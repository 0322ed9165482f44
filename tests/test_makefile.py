"""`make clean` takes away what other targets made, and never what took hours to train; `make container` names well."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from weightfeat.server.preflight.documents import container_name
from weightfeat.server.preflight.lines import State

MAKEFILE = Path(__file__).parents[1] / "Makefile"
MADE = (
    ".venv/bin/python", "build/x", "dist/x", "weightfeat.egg-info/x", ".mypy_cache/x", ".ruff_cache/x", ".hypothesis/x",
    "demo/x", "sensitivity/x", "compare/x", "tune.journal", "a_b_weightfeat.simg", "weightfeat/zoo/__pycache__/x",
)  # fmt: skip
KEPT = (
    "Makefile",
    "of_another_team.simg",
    "zoo/id-00000000/model.pt",
    "reference/METADATA.csv",
    "metaparameters.json",
)
SOURCES = ("benchmarks/x.py", "tests/x.py", "tools/x.py", "weightfeat/x.py")


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_clean_takes_what_was_made_and_leaves_what_was_trained(tmp_path: Path) -> None:
    for name in (*MADE, *KEPT, *SOURCES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(MAKEFILE, tmp_path / "Makefile")
    subprocess.run(["make", "--silent", "clean"], cwd=tmp_path, check=True)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*KEPT, *SOURCES}


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], "leaderboard image-classification-sep2022, split sts, container weightfeat"),
        (["LEADERBOARD=mine", "SPLIT=test"], "leaderboard mine, split test, container weightfeat"),
    ],
)
def test_a_container_s_name_says_where_it_goes(words: list[str], found: str, tmp_path: Path) -> None:
    builder = tmp_path / "bin" / "apptainer"
    builder.parent.mkdir()
    builder.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    builder.chmod(0o755)
    shutil.copy(MAKEFILE, tmp_path / "Makefile")
    path = f"{builder.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["make", "--silent", "container", *words],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    build, name, definition = done.stdout.splitlines()
    assert (build, definition) == ("build", "container.def")
    line = container_name(name)
    assert (line.state, line.found) == (State.OK, found)
