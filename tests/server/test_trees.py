"""Trees deeper than Python recurses, than a path is long, than folders may be open: measured, listed and removed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_round import REPOSITORY
from weightfeat.server import trees

DEPTHS = [0, 1, 50, 3000]


@pytest.fixture(autouse=True)
def _emptied(tmp_path: Path) -> Iterator[None]:
    """The test runner's own cleaning recurses."""
    yield
    trees.remove(tmp_path)


def nest(top: Path, depth: int, name: str = "folder", size: int = 0) -> None:
    """`depth` folders in one another, and in the innermost a file of `size` bytes."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, bytes(size))
    os.close(file)
    os.close(here)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_tree_of_any_depth_is_removed(depth: int, tmp_path: Path) -> None:
    nest(tmp_path / "top", depth)
    trees.remove(tmp_path / "top")
    assert not (tmp_path / "top").exists()


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_file_counts_however_deep_it_lies(depth: int, tmp_path: Path) -> None:
    nest(tmp_path / "empty", depth)
    nest(tmp_path / "full", depth, size=1 << 20)
    assert trees.size(tmp_path / "full") - trees.size(tmp_path / "empty") == 1 << 20


@pytest.mark.parametrize("depth", DEPTHS)
def test_files_are_listed_as_far_as_a_path_reaches(depth: int, tmp_path: Path) -> None:
    nest(tmp_path / "top", depth)
    found = list(trees.files(tmp_path / "top"))
    assert found == ([] if depth == 3000 else [tmp_path.joinpath("top", *["folder"] * depth, "file")])
    assert all(path.is_file() for path in found)


def test_every_entry_comes_once_and_after_what_is_in_it(tmp_path: Path) -> None:
    for name in ("a/b/c", "a/d", "e", "f/g"):
        (tmp_path / "top" / name).mkdir(parents=True)
        (tmp_path / "top" / name / "file").touch()
    seen = [entry.path() for entry in trees.walk(tmp_path / "top")]
    expected = {str(path.relative_to(tmp_path / "top")) for path in (tmp_path / "top").rglob("*")}
    assert len(seen) == len(expected)
    assert set(seen) == expected
    for path in (path for path in seen if path and "/" in path):
        assert seen.index(path) < seen.index(path.rpartition("/")[0])


def test_a_hole_is_not_counted(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 32)
    assert trees.size(tmp_path) < 1 << 20


def test_closed_folders_are_removed_and_links_lead_nowhere(tmp_path: Path) -> None:
    kept, top = tmp_path / "kept", tmp_path / "top"
    (kept / "below").mkdir(parents=True)
    (top / "a" / "b").mkdir(parents=True)
    (top / "away").symlink_to(kept)
    (top / "a" / "b" / "file").touch()
    (top / "a" / "b").chmod(0)
    (top / "a").chmod(0)
    trees.remove(top)
    assert not top.exists()
    assert (kept / "below").is_dir()


def test_a_tree_that_is_moved_meanwhile_ends_the_walk(tmp_path: Path) -> None:
    """Never with what lies outside: a step up that leads elsewhere is not taken."""
    nest(tmp_path / "top", 3)
    (tmp_path / "outside").touch()
    walk = trees.walk(tmp_path / "top")
    assert next(walk).path() == "folder/folder/folder/file"
    (tmp_path / "top/folder/folder/folder").rename(tmp_path / "moved")
    assert [entry.name for entry in walk] == []


@pytest.mark.parametrize("kind", ["absent", "a file", "a link"])
def test_what_is_no_folder_holds_nothing(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "top"
    if kind == "a file":
        path.write_text("x")
    if kind == "a link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "file").write_text("x")
        path.symlink_to(tmp_path / "elsewhere")
    assert list(trees.files(path)) == []
    assert trees.size(path) == 0
    trees.remove(path)
    assert kind != "a link" or (tmp_path / "elsewhere" / "file").exists()


PROGRAM = """
import os, sys
sys.path.insert(0, {repository!r})
from pathlib import Path
from weightfeat.server import trees
os.chdir({top!r})
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(trees.size(Path(".")))
trees.remove(Path("mine"))
print(os.path.exists("mine"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: another user cannot be tried")
def test_a_folder_that_could_not_be_left_hides_no_other(tmp_path: Path) -> None:
    """To a user without root's rights, whom a folder's bits do stop."""
    top = tmp_path / "top"
    for name in ("a", "b", "c"):
        (top / "mine" / name).mkdir(parents=True)
    (top / "mine" / "a" / "file").write_bytes(bytes(1 << 20))
    (top / "mine" / "c" / "file").write_bytes(bytes(1 << 20))
    for path in (top, *top.rglob("*")):
        os.chown(path, 65534, 65534)
    (top / "mine" / "b").chmod(0o400)
    code = PROGRAM.format(repository=str(REPOSITORY), top=str(top))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    size, left = done.stdout.split()
    assert int(size) >= 2 << 20
    assert left == "False"
