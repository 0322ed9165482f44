"""Which files there are to scan: files as they are named, and those of folders that look like models."""

from __future__ import annotations

import fnmatch
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weightfeat.checkpoint.folders import is_network
from weightfeat.checkpoint.shards import INDEX, PART, numbered_parts
from weightfeat.errors import UnreadableFile, WeightfeatError

__all__ = ["SUFFIXES", "Found", "Wanted", "discover"]

SUFFIXES = (
    *(".pt", ".pth", ".th", ".tar", ".ckpt", ".bin", ".pkl", ".pickle", ".model", ".weights"),
    *(".safetensors", ".h5", ".hdf5", ".keras", ".onnx", ".npz"),
)
"""Ends of names that a folder's models have, unless patterns say otherwise."""
_UNLIKE, _EXCLUDED, _ELSEWHERE = "unlike a model's name", "excluded", "links out of the folder"
_BESIDE = "parts of a network whose index or folder was scanned"


@dataclass(frozen=True)
class Wanted:
    """Patterns (`*.pt`, `drafts/*`) for a name or for a path inside the folder named.

    `include` names the files that count instead of `SUFFIXES`; `exclude` takes files and whole folders away.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """Files to scan, each once and in order; places that could not be looked into; and how many files were passed
    over, by reason."""

    paths: tuple[Path, ...]
    errors: tuple[WeightfeatError, ...] = ()
    passed_over: Counter[str] = field(default_factory=Counter)


def discover(named: Iterable[Path], wanted: Wanted) -> Found:
    """What to scan. Patterns hold inside folders alone: who names a file means it.

    A symbolic link inside a folder is followed to a file that lies in the folder as well, and nowhere else. A folder
    that is itself a network (a distributed checkpoint, numbered parts without an index) stands for its parts.
    """
    paths: dict[Path, None] = {}
    errors: list[WeightfeatError] = []
    passed_over: Counter[str] = Counter()
    for path in named:
        if path.is_dir():
            paths |= dict.fromkeys(_inside(path, wanted, errors, passed_over))
        else:
            paths[path] = None
    return Found(tuple(paths), tuple(errors), passed_over)


def _inside(
    root: Path, wanted: Wanted, errors: list[WeightfeatError], passed_over: Counter[str]
) -> Iterator[Path]:
    real = root.resolve()
    for folder, folders, names in os.walk(root, onerror=lambda error: errors.append(_closed(error))):
        here = Path(folder)
        left_out = [name for name in folders if _matches(here / name, root, wanted.exclude)]
        passed_over.update(_EXCLUDED for _ in left_out)
        folders[:] = sorted(set(folders) - set(left_out))
        passed_over.update(_ELSEWHERE for name in folders if _leads_out(here / name, real))
        reasons = {name: _why_not(here / name, root, real, wanted) for name in sorted(names)}
        chosen = [name for name, reason in reasons.items() if reason is None]
        stems = {name.split(".")[0] for name in chosen if name.endswith(INDEX)}
        loose: set[str] = set() if stems else set(numbered_parts(names)) & set(chosen)
        if loose or (is_network((*folders, *names)) and _included(here, root, wanted)):
            yield here
        for name in chosen:
            part = PART.fullmatch(name)
            if name in loose or (part is not None and part["stem"] in stems):
                reasons[name] = _BESIDE
            else:
                yield here / name
        passed_over.update(reason for reason in reasons.values() if reason is not None)


def _included(folder: Path, root: Path, wanted: Wanted) -> bool:
    return folder == root or not wanted.include or _matches(folder, root, wanted.include)


def _why_not(path: Path, root: Path, real: Path, wanted: Wanted) -> str | None:
    """Why a file of a folder is no file to scan; None where it is one."""
    if _matches(path, root, wanted.exclude):
        return _EXCLUDED
    if wanted.include:
        if not _matches(path, root, wanted.include):
            return "not included"
    elif not path.name.lower().endswith((*SUFFIXES, INDEX)):
        return _UNLIKE
    return _ELSEWHERE if _leads_out(path, real) else None


def _leads_out(path: Path, real: Path) -> bool:
    return path.is_symlink() and not path.resolve().is_relative_to(real)


def _matches(path: Path, root: Path, patterns: Sequence[str]) -> bool:
    inside = path.relative_to(root).as_posix()
    return any(
        fnmatch.fnmatchcase(name, each.rstrip("/")) for each in patterns for name in (path.name, inside)
    )


def _closed(error: OSError) -> UnreadableFile:
    return UnreadableFile(
        f"the folder cannot be looked into ({error.strerror})",
        where=error.filename,
        expected="a readable folder",
        remedy="mend its permissions, or exclude it",
    )
