"""The container's build without apptainer: its definition file is read whole, copied by, and stamped from git."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import container_def
import stamp
from container_round import REPOSITORY
from weightfeat.metaparameters.rules import check_schema

DEFINITION = container_def.parse((REPOSITORY / "container.def").read_text())


def test_the_definition_has_what_a_submission_needs() -> None:
    assert DEFINITION.suite == "bookworm"
    assert set(DEFINITION.sections) == set(container_def.KNOWN)
    assert 'detect.py "$@"' in DEFINITION.sections["runscript"]
    assert "--constraint" in DEFINITION.sections["post"]
    assert "--nv" in DEFINITION.sections["help"]


def test_the_definition_s_files_are_all_there_and_land_where_the_api_wants_them(tmp_path: Path) -> None:
    context, tmp_path = tmp_path / "context", tmp_path / "root"
    (context / "learned_parameters").mkdir(parents=True)
    (context / "learned_parameters" / "detector.json").touch()
    sources = [line.split()[0] for line in DEFINITION.sections["files"].splitlines() if line.strip()]
    for name in set(sources) - {"learned_parameters"}:
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        (context / name).symlink_to(REPOSITORY / name)
    container_def.copy_files(DEFINITION.sections["files"], context, tmp_path)
    for name in ("metaparameters.json", "learned_parameters/detector.json", "opt/weightfeat/detect.py"):
        assert (tmp_path / name).is_file()
    assert (tmp_path / "opt/weightfeat/weightfeat/cli.py").is_file()
    assert not list(tmp_path.rglob("__pycache__"))
    assert not (tmp_path / "metaparameters_schema.json").exists()  # the build stamps that one
    assert "metaparameters_schema.json" in DEFINITION.sections["setup"]


def test_what_the_definition_copies_can_be_installed(tmp_path: Path) -> None:
    container_def.copy_files(DEFINITION.sections["files"], REPOSITORY, tmp_path)
    code = "import sys\nfrom setuptools import build_meta\nbuild_meta.build_editable(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=tmp_path / "opt" / "weightfeat",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("weightfeat-*.whl"))
    assert not list(tmp_path.rglob("shipped"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Bootstrap: docker\n\n%appinstall x\n  echo\n", "appinstall"),
        ("Bootstrap: docker\nFrom: alpine\n", "docker base"),
        ("Bootstrap: library\nFrom: debian:bookworm\n", "docker base"),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        print(container_def.parse(text).suite)


def test_a_root_is_out_of_date_when_anything_that_goes_into_it_changes(tmp_path: Path) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "main.py").write_text("1")
    (tmp_path / "beside").write_text("1")
    definition = container_def.parse(
        "Bootstrap: docker\n\n%files\n    program /opt/program\n%post\n    true\n"
    )
    before = container_def.fingerprint(definition, tmp_path)

    (tmp_path / "program" / "__pycache__").mkdir()
    (tmp_path / "program" / "__pycache__" / "main.pyc").write_text("1")
    (tmp_path / "beside").write_text("2")
    assert container_def.fingerprint(definition, tmp_path) == before

    (tmp_path / "program" / "main.py").write_text("2")
    changed = container_def.fingerprint(definition, tmp_path)
    assert changed != before
    (tmp_path / "program" / "more.py").touch()
    assert container_def.fingerprint(definition, tmp_path) not in (before, changed)
    (tmp_path / "program" / "more.py").unlink()
    other = container_def.Definition(definition.header, definition.sections | {"post": "    false\n"})
    assert container_def.fingerprint(other, tmp_path) != changed
    assert container_def.fingerprint(definition, tmp_path) == changed


def test_scripts_set_the_environment_first(tmp_path: Path) -> None:
    definition = container_def.Definition(
        {}, {"environment": "    export COLOUR=red\n", "runscript": "echo $COLOUR $1\n"}
    )
    container_def.write_scripts(definition, tmp_path)
    script = (
        (tmp_path / ".singularity.d" / "runscript")
        .read_text()
        .replace("/.singularity.d", f"{tmp_path}/.singularity.d")
    )
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", "brick"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "red brick\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository of two commits, the first of them tagged."""
    (tmp_path / "schema.json").write_text((REPOSITORY / "metaparameters_schema.json").read_text())
    for subject, tag in (("First", "v1"), ("Second thoughts", None)):
        (tmp_path / "file").write_text(subject)
        git(tmp_path, "init", "--quiet")
        git(tmp_path, "add", ".")
        who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
        git(tmp_path, *who, "commit", "--quiet", "-m", subject)
        if tag:
            git(tmp_path, "tag", tag)
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_schema_is_stamped_from_git_and_stays_valid(clone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    before = (clone / "schema.json").read_text()
    assert stamp.main([str(clone / "schema.json"), str(out)]) == 0
    schema = json.loads(out.read_text())
    assert schema["commit_id"] == git(clone, "rev-parse", "HEAD")
    assert schema["technique_changes"] == "Second thoughts"
    assert (clone / "schema.json").read_text() == before
    assert list(schema) == list(json.loads(before))
    assert check_schema(schema, json.loads((REPOSITORY / "metaparameters.json").read_text())) == []

    (clone / "file").write_text("changed")
    assert stamp.commit_id(clone) == schema["commit_id"] + "-dirty"
    git(clone, "tag", "--delete", "v1")
    assert stamp.technique_changes(clone) == "Second thoughts; First"


@pytest.mark.parametrize("version", ["3.7", "3.8", "3.9", "3.10"])
def test_the_stamp_runs_under_the_python_of_an_old_machine(version: str, clone: Path, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    out = tmp_path / "out.json"
    command = [python, str(REPOSITORY / "tools" / "stamp.py"), str(clone / "schema.json"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text())["commit_id"] == git(clone, "rev-parse", "HEAD")


def interpreter(version: str) -> str | None:
    """A Python of this version that runs: on the path, or where pyenv keeps them."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for path in (
        shutil.which(f"python{version}"),
        *root.glob(f"versions/{version}.*/bin/python"),
    ):
        if path and subprocess.run([path, "-c", "pass"], capture_output=True).returncode == 0:
            return str(path)
    return None


def test_the_stamp_is_written_in_the_language_of_3_7() -> None:
    """Where no old interpreter is: its grammar, and none of what came later that is easily taken for older."""
    tree = ast.parse((REPOSITORY / "tools" / "stamp.py").read_text(), feature_version=(3, 7))
    later = {"removeprefix", "removesuffix", "is_relative_to", "readlink", "with_stem", "unlink", "cache"}
    assert later.isdisjoint(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    assert not [
        node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr)
    ]


OLD_GIT = """#!/bin/sh
# What git before 2.38 made of safe.directory: nothing, after -c or in variables.
unset GIT_CONFIG_GLOBAL GIT_CONFIG_COUNT GIT_CONFIG_PARAMETERS
if [ "$1" = -c ]; then shift 2; fi
exec {git} "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: no repository of another user can be made")
@pytest.mark.parametrize("old", [False, True])
def test_another_user_s_repository_is_read(
    old: bool,
    clone: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As under fakeroot or sudo, and with the user's own settings."""
    commit = git(clone, "rev-parse", "HEAD")
    home = tmp_path_factory.mktemp("home")
    (home / ".gitconfig").write_text("[core]\n\tabbrev = 12\n")
    monkeypatch.setenv("HOME", str(home))
    if old:
        (home / "git").write_text(OLD_GIT.format(git=shutil.which("git")))
        (home / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    for path in (clone, *clone.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    with pytest.raises(subprocess.CalledProcessError):
        git(clone, "rev-parse", "HEAD")
    assert stamp.commit_id(clone) == commit
    assert stamp.git(clone, "rev-parse", "--short", "HEAD") == commit[:12]


def test_the_container_takes_a_torch_for_cuda_12() -> None:
    """The pins but for torch are those the tests ran with."""
    post = DEFINITION.sections["post"]
    assert "torch==2.10.0" in post
    command = next(line for line in post.splitlines() if "grep -v" in line)
    script = command.replace("/opt/weightfeat/constraints.txt", str(REPOSITORY / "constraints.txt"))
    script = script.rpartition(">")[0]
    made = subprocess.run(
        ["/bin/sh", "-ec", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    pins = [line for line in made if line and not line.startswith("#")]
    ours = [
        line
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert [pin for pin in pins if pin not in ours] == ["torch==2.10.0"]
    assert {pin.partition("==")[0] for pin in set(ours) - set(pins)} == {"torch", "torchvision"}
    assert "constraints-container.txt" in post.partition("pip install")[2]


def test_a_stamp_without_git_or_on_the_schema_itself_is_refused(
    clone: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = clone / "schema.json"
    assert stamp.main([str(schema), str(schema)]) == 2
    bare = tmp_path_factory.mktemp("bare") / "schema.json"
    bare.write_text(schema.read_text())
    assert stamp.main([str(bare), str(bare.with_name("out.json"))]) == 2
    assert not bare.with_name("out.json").exists()
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())
