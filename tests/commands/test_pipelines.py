"""What other people's pipelines call: the hook, the action and the image fit the command line and the repository."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from weightfeat.cli import _parser
from weightfeat.rounds.discovery import SUFFIXES
from weightfeat.server.preflight.behaviour import small_model

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


def test_pre_commit_scans_the_models_of_a_commit_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook as pre-commit itself reads and runs it; the program is the one at hand, nothing is installed."""
    program = shutil.which("pre-commit")
    if program is None:
        pytest.skip("no pre-commit: pip install pre-commit")
    hooks, project, bin_ = (tmp_path / name for name in ("hooks", "project", "bin"))
    for folder in (hooks, project, bin_):
        folder.mkdir()
    (bin_ / "weightfeat").write_text(f'#!/bin/sh\nexec {sys.executable} -m weightfeat "$@"\n')
    (bin_ / "weightfeat").chmod(0o755)
    for name, value in {
        "PATH": f"{bin_}:{Path(program).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "PRE_COMMIT_HOME": str(tmp_path / "cache"),
        **{
            f"GIT_{who}_{what}": "tester@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }.items():
        monkeypatch.setenv(name, value)

    def call(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "hooks")):
        assert call(hooks, "git", *command).returncode == 0
    rev = call(hooks, "git", "rev-parse", "HEAD").stdout.strip()
    hook = {"id": "weightfeat", "language": "system", "args": ["--fail-on", "0.0"]}
    config = {"repos": [{"repo": str(hooks), "rev": rev, "hooks": [hook]}]}
    (project / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    (project / "README.md").write_text("hello")
    call(project, "git", "init", "-q")
    call(project, "git", "add", ".")
    done = call(project, program, "run", "--all-files")
    assert (done.returncode, "Skipped" in done.stdout) == (0, True), done.stdout + done.stderr
    small_model(project / "model.pt")
    call(project, "git", "add", "model.pt")
    done = call(project, program, "run", "--all-files")
    assert done.returncode == 1
    assert re.search(r"exit code: 1", done.stdout)
    assert re.search(r", 6 classes.*  model\.pt", done.stdout)
    assert "README.md" not in done.stdout


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
