"""What a network's classes are called: `id2label` of the `config.json` that model hubs keep beside the weights.

A name is somebody's text and no evidence: it is shown beside a class's number, never in its place.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from weightfeat.errors import one_line

__all__ = ["ClassNames", "class_names"]

CONFIG = "config.json"
LONGEST = 60
"""Characters of a name; what is longer is cut."""
_LARGEST = 1 << 23
"""Bytes of a config.json that is read: 20,000 classes need a tenth of it."""


@dataclass(frozen=True)
class ClassNames:
    """A name a class, in the order of the network's outputs, or none at all; and why they were left aside, if so."""

    names: tuple[str, ...] = ()
    note: str = ""


def class_names(model: Path, classes: int) -> ClassNames:
    """The names of a network's `classes` classes, each one line of at most `LONGEST` characters.

    `model` is what was scanned: a file or an index, beside which the config lies, or a folder, in which it does. There
    are none where it says nothing of classes, or names them `LABEL_0` and so on, as a hub does that knows no names. Of
    another number of classes, or of labels that are no names, a note says so.

    >>> class_names(Path("absent.pt"), 6)
    ClassNames(names=(), note='')
    """
    config = (model if model.is_dir() else model.parent) / CONFIG
    try:
        status = config.stat()
        if not stat.S_ISREG(status.st_mode):
            return ClassNames()
        return _fitting(_labels(config, status.st_size, status.st_mtime_ns), classes)
    except (OSError, ValueError):  # ValueError: a null byte in the path
        return ClassNames()


@lru_cache(maxsize=4)
def _labels(config: Path, size: int, written: int) -> Mapping[str, object] | str | None:
    """Its id2label; None where it has none, a text that says what is wrong.

    Kept for the files of one folder, as long as the config has this size and was written at that time.
    """
    if size > _LARGEST:
        return f"is larger than {_LARGEST >> 20} MiB"
    try:
        held = json.loads(config.read_bytes()[: _LARGEST + 1])
    except (ValueError, RecursionError):
        return "is no JSON"
    found = held.get("id2label") if isinstance(held, dict) else None
    return found if found is None or isinstance(found, dict) else "has an id2label that is no map"


def _fitting(labels: Mapping[str, object] | str | None, classes: int) -> ClassNames:
    if labels is None:
        return ClassNames()
    if isinstance(labels, str):
        return ClassNames(note=f"the {CONFIG} beside it {labels}: what its classes are called is not known")
    if len(labels) != classes:
        wrong = f"names {len(labels)} classes and the network has {classes}"
        return ClassNames(note=f"the {CONFIG} beside it {wrong}: its names are not used")
    names = [labels.get(str(at)) for at in range(classes)]
    if names == [f"LABEL_{at}" for at in range(classes)]:
        return ClassNames()
    told = tuple(_short(name) for name in names if isinstance(name, str))
    if len(told) < classes:
        wrong = f"has no name for each of the classes 0 to {classes - 1}"
        return ClassNames(note=f"the {CONFIG} beside it {wrong}: its names are not used")
    return ClassNames(told)


def _short(name: str) -> str:
    """One printable line, its end cut if long: a name that could fill a page, move a cursor or forge a line."""
    shown = one_line(" ".join(name[: 4 * LONGEST].split()))
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."
