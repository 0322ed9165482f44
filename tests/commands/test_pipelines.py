"""What other people's pipelines call: the hook, the action and the image fit the command line and the repository."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weightfeat.cli import _parser
from weightfeat.rounds.discovery import SUFFIXES

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]


def step(name: str) -> dict[str, Any]:
    """The action's step whose command holds `name`."""
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    found: dict[str, Any] = next(each for each in steps if name in each.get("run", ""))
    return found


def test_the_hook_takes_the_names_that_a_folder_s_scan_takes() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    pattern = re.compile(hook["files"])
    assert all(
        pattern.search(f"some/model{suffix}") and pattern.search(f"M{suffix.upper()}") for suffix in SUFFIXES
    )
    assert not pattern.search("README.md")
    program, *arguments = shlex.split(hook["entry"])
    assert program == "weightfeat"
    assert _parser("scan").parse_args([*arguments, "a.pt", "b.pt"]).paths == ["a.pt", "b.pt"]


def test_the_action_s_command_scans_what_it_was_given_and_runs_none_of_it(tmp_path: Path) -> None:
    """Paths and values arrive as variables: a value that is a command is a value."""
    (tmp_path / "models; touch ran").mkdir()
    scan = step("weightfeat scan")
    assert set(scan["env"]) == {"PATHS", "FAIL_ON", "SARIF"}
    environment = {
        "PATHS": "models; touch ran\n$(touch ran)",
        "FAIL_ON": "never",
        "SARIF": "out.sarif",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    command = scan["run"].replace("weightfeat scan", f"{sys.executable} -m weightfeat scan")
    given = {**environment, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "$(touch ran): cannot be read" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert (tmp_path / "out.sarif").is_file()


def test_no_step_of_the_action_puts_what_was_given_into_a_command() -> None:
    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    assert all("${{" not in each.get("run", "") for each in steps)


def test_the_image_copies_what_there_is() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert copied
    assert all((ROOT / source).exists() for source in copied)
    assert "USER nobody" in lines
