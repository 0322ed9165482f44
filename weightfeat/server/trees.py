"""Folders that a detector filled: walked, measured and removed however deep they are.

A tree may be deeper than Python recurses, than a path may be long and than a process may hold folders open. So one
descriptor goes through it, down by name and up by "..", and every step up is checked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Entry", "files", "remove", "size", "walk"]

LONGEST_PATH = 4096
"""Linux opens no path that is longer (PATH_MAX)."""
_DOWN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_UP = os.O_PATH | os.O_DIRECTORY


@dataclass(frozen=True)
class Entry:
    """`name`, in the folder that is open as `folder`; both of use only until the next entry is asked for."""

    folder: int
    name: str
    is_folder: bool
    above: list[_Level]

    def path(self) -> str | None:
        """The path below the top, None where it is too long for any file to be opened by."""
        names = [level.entered for level in self.above[:-1]] if len(self.above) < LONGEST_PATH // 2 else None
        path = None if names is None else "/".join([*names, self.name])
        return path if path is not None and len(path) < LONGEST_PATH else None


@dataclass
class _Level:
    """A folder on the way down: which one it is, its folders still to be entered, the one entered."""

    identity: tuple[int, int]
    files: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    entered: str = ""


def walk(top: Path, *, forced: bool = False) -> Iterator[Entry]:
    """Everything below a folder, a folder after what is in it; links are not followed, mounts are.

    What cannot be opened has no content; `forced` gives its owner the right to first. Where folders are moved while
    they are walked, the walk ends early.
    """
    try:
        here = os.open(top, _DOWN)
    except OSError:
        return
    try:
        levels = [_listed(here)]
        while levels:
            level = levels[-1]
            while level.files:
                yield Entry(here, level.files.pop(), False, levels)
            if level.waiting:
                level.entered = level.waiting.pop()
                try:
                    below = _entered(here, level.entered, forced)
                except OSError:
                    yield Entry(here, level.entered, True, levels)
                    continue
                os.close(here)
                here = below
                levels.append(_listed(here))
                continue
            levels.pop()
            if levels:
                above = os.open("..", _UP, dir_fd=here)
                os.close(here)
                here = above
                if _identity(here) != levels[-1].identity:
                    return
                yield Entry(here, levels[-1].entered, True, levels)
    except OSError:  # it vanished under us
        return
    finally:
        os.close(here)


def _entered(folder: int, name: str, forced: bool) -> int:
    """The folder opened; OSError where it cannot be, or where it could not be left again."""
    if forced:
        os.chmod(name, 0o700, dir_fd=folder)
    below = os.open(name, _DOWN, dir_fd=folder)
    try:
        os.close(os.open("..", _UP, dir_fd=below))
    except OSError:
        os.close(below)
        raise
    return below


def _listed(folder: int) -> _Level:
    level = _Level(_identity(folder))
    with os.scandir(folder) as entries:
        for entry in entries:
            (level.waiting if entry.is_dir(follow_symlinks=False) else level.files).append(entry.name)
    return level


def _identity(folder: int) -> tuple[int, int]:
    about = os.fstat(folder)
    return about.st_dev, about.st_ino


def size(top: Path) -> int:
    """Bytes on disk of everything below a folder, holes not counted; what vanishes meanwhile counts nothing."""
    total = 0
    for entry in walk(top):
        with contextlib.suppress(OSError):
            about = os.stat(entry.name, dir_fd=entry.folder, follow_symlinks=False)
            total += about.st_blocks * 512
    return total


def files(top: Path) -> Iterator[Path]:
    """Whatever below a folder is no folder and has a path that can be opened."""
    for entry in walk(top):
        path = None if entry.is_folder else entry.path()
        if path is not None:
            yield top / path


def remove(top: Path) -> None:
    """Remove a folder with all that is in it, whatever permissions it has; what cannot be removed stays."""
    for entry in walk(top, forced=True):
        with contextlib.suppress(OSError):
            (os.rmdir if entry.is_folder else os.unlink)(entry.name, dir_fd=entry.folder)
    with contextlib.suppress(OSError):
        top.rmdir()
