"""`make clean` takes away what other targets made, and never what took hours to train or is in git."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[1] / "Makefile"
MADE = (
    ".venv/bin/python", "build/x", "dist/x", "weightfeat.egg-info/x", ".mypy_cache/x", ".ruff_cache/x", ".hypothesis/x",
    "demo/x", "sensitivity/x", "compare/x", "tune.journal", "container.simg", "weightfeat/zoo/__pycache__/x",
)  # fmt: skip
KEPT = ("Makefile", "zoo/id-00000000/model.pt", "reference/METADATA.csv", "metaparameters.json")
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
