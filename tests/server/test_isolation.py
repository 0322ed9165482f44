"""The cage holds where bubblewrap works, and a workspace can be emptied whatever was left in it."""

from __future__ import annotations

import os
import site
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from weightfeat.server import processes, runner
from weightfeat.server.api import APIS
from weightfeat.server.isolation import Isolation, find, mounts
from weightfeat.server.places import Workspace
from weightfeat.server.runner import Ended, Limits

ALLOWED = {
    "write to scratch": "open('{scratch}/x', 'w').write('x')",
    "write the result": "open('{active}/result.txt', 'w').write('0.5')",
    "read the model": "assert open('{active}/model.pt').read() == 'model'",
}
FORBIDDEN = {
    "write to HOME": "import os; open(os.environ['HOME'] + '/x', 'w')",
    "write to /tmp": "open('{tmp}', 'w')",
    "write to the working folder": "open('x', 'w')",
    "write to the round": "open('{round}/model.pt', 'a')",
    "write to the server's other files": "open('{outside}', 'w')",
    "reach this machine over the loopback": "import socket; socket.create_connection(('127.0.0.1', {port}), 3)",
    "look up a name": "import socket; socket.getaddrinfo('example.org', 80)",
    "see the server's process": "import os; assert os.readlink('/proc/{pid}/exe') == os.readlink('/proc/self/exe')",
}

REMOUNT = "mount -o remount,rw,bind /"
ROOT_ONLY = {
    "mount the read-only root anew": f"import subprocess; subprocess.run('{REMOUNT}'.split(), check=True)",
    "write to the round once it is mounted anew": f"import subprocess; subprocess.run('{REMOUNT}'.split())\n"
    "open('{round}/model.pt', 'a').write('x')",
    "mount anew in a user namespace of its own": "import subprocess\n"
    f"subprocess.run(['unshare', '-Urm', 'sh', '-c', '{REMOUNT} && echo x >>{{round}}/model.pt'], check=True)",
    "make a device": "import os, stat; os.mknod('{scratch}/disk', stat.S_IFBLK | 0o600, os.makedev(7, 0))",
    "set what the kernel runs": "import os; os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY)",
    "have any of root's rights": "lines = [line for line in open('/proc/self/status') if line[:3] == 'Cap']\n"
    "assert any(int(line.split()[1], 16) for line in lines)",
}
"""What only root could do."""

OF_ALL = Path("/tmp")


@pytest.fixture(scope="module")
def isolation() -> Isolation:
    found = find()
    if not found.active:
        pytest.skip(found.why_not)
    return found


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def attempt(code: str, top: Path, isolation: Isolation, port: int) -> tuple[Ended, str]:
    """Run `code` as a detector is run; how it ended and what it said."""
    (top / "round").mkdir()
    (top / "round" / "model.pt").write_text("model")
    space = Workspace.on_host(top / "work")
    space.lay_out(top / "round" / "model.pt", APIS["1-4"])
    words = {"scratch": space.scratch, "active": space.active, "round": top / "round", "outside": top / "x"}
    words["tmp"] = OF_ALL / f"weightfeat-{os.getpid()}"
    ended = runner.run(
        isolation.wrap([sys.executable, "-c", code.format(**words, port=port, pid=os.getpid())], space),
        cwd=space.cwd,
        environment=isolation.environment(space),
        mark=str(top),
        logs=(top / "out", top / "err"),
        places=space.writable,
        limits=Limits(60),
    )
    words["tmp"].unlink(missing_ok=True)
    assert processes.members(None, str(top)) == []
    return ended, (top / "err").read_text()


@pytest.mark.parametrize("what", ALLOWED)
def test_a_detector_may(what: str, tmp_path: Path, isolation: Isolation, port: int) -> None:
    ended, said = attempt(ALLOWED[what], tmp_path, isolation, port)
    assert ended.exit_code == 0, said


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_detector_may_not(what: str, tmp_path: Path, isolation: Isolation, port: int) -> None:
    """The same code succeeds without the cage, so it is the cage that stops it; a name needs a network to ask."""
    ended, said = attempt(FORBIDDEN[what], tmp_path, isolation, port)
    assert ended.exit_code == 1, said
    assert "Traceback" in said
    if what != "look up a name":
        (tmp_path / "bare").mkdir()
        ended, said = attempt(FORBIDDEN[what], tmp_path / "bare", Isolation(None), port)
        assert ended.exit_code == 0, said


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: what root may do cannot be tried")
@pytest.mark.parametrize("what", ROOT_ONLY)
def test_a_detector_run_as_root_may_not(what: str, tmp_path: Path, isolation: Isolation, port: int) -> None:
    ended, said = attempt(ROOT_ONLY[what], tmp_path, isolation, port)
    assert ended.exit_code == 1, said
    assert "Traceback" in said
    assert (tmp_path / "round" / "model.pt").read_text() == "model"


def test_a_cage_binds_only_result_and_scratch_and_cuts_the_network(tmp_path: Path) -> None:
    space = Workspace.on_host(tmp_path)
    words = Isolation("/usr/bin/bwrap").wrap(["detector", "--flag"], space)
    assert words[-3:] == ["--", "detector", "--flag"]
    assert words[1:4] == ["--ro-bind", "/", "/"]
    assert {"--unshare-net", "--unshare-user"} <= set(words)
    assert words[words.index("--cap-drop") + 1] == "ALL"
    bound = [words[at + 1] for at, word in enumerate(words) if word == "--bind"]
    assert bound == [str(space.active), str(space.scratch)]


def test_a_detector_s_python_finds_what_ours_finds_under_another_home_and_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(("near", "/far", "")))
    monkeypatch.setenv("PYTHONUSERBASE", "own")
    monkeypatch.setattr(site, "USER_BASE", None)  # where Python keeps the answer
    monkeypatch.delenv("PYTHONNOUSERSITE", raising=False)
    space = Workspace.on_host(tmp_path / "work")
    found = Isolation(None).environment(space)
    assert found["PYTHONPATH"].split(os.pathsep) == [str(tmp_path / "near"), "/far", str(tmp_path)]
    assert found["PYTHONUSERBASE"] == str(tmp_path / "own")
    monkeypatch.setattr(site, "USER_BASE", None)
    monkeypatch.delenv("PYTHONUSERBASE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Isolation(None).environment(space)["PYTHONUSERBASE"] == str(tmp_path / ".local")
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    assert "PYTHONUSERBASE" not in Isolation(None).environment(space)
    rooted = Isolation("/usr/bin/bwrap", root=tmp_path).environment(space)
    assert set(rooted) == {"PATH", "HOME"}


def test_only_who_asks_gets_a_root_to_write_to_and_an_empty_tmp(tmp_path: Path) -> None:
    assert mounts(tmp_path) == ["bwrap", "--ro-bind", str(tmp_path), "/", "--dev", "/dev", "--proc", "/proc"]
    words = mounts(tmp_path, program="/usr/bin/bwrap", writable=True, temporary=True)
    assert words[:4] == ["/usr/bin/bwrap", "--bind", str(tmp_path), "/"]
    assert words[-2:] == ["--tmpfs", "/tmp"]


def test_a_workspace_is_emptied_whatever_was_left_in_it(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "below").mkdir(parents=True)
    kept.chmod(0o500)
    model = tmp_path / "model.pt"
    model.write_text("model")
    space = Workspace.on_host(tmp_path / "work")
    space.lay_out(model, APIS["1-4"])
    (space.scratch / "a" / "b").mkdir(parents=True)
    (space.scratch / "away").symlink_to(kept)
    (space.scratch / "a" / "b").chmod(0)
    (space.scratch / "a").chmod(0)
    space.lay_out(model, APIS["1-4"])
    assert [path.name for path in space.root.rglob("*") if path.is_file()] == ["model.pt"]
    assert (kept.stat().st_mode & 0o777, (kept / "below").is_dir()) == (0o500, True)  # what a link led to
    space.clear()
    assert not space.root.exists()
