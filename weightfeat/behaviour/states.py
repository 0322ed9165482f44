"""Reversed triggers on disk, a class a file: an npz without objects, and a JSON that says it is finished."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightfeat.behaviour.reversal import Reversed
from weightfeat.behaviour.triggers import Trigger
from weightfeat.errors import UnreadableFile
from weightfeat.files import make_folder, write_atomically

_FINISHED = re.compile(r"class_(\d+)\.json")


def save_reversed(folder: Path, found: Reversed, key: str) -> None:
    """Write a class's state; the JSON comes last, so that without it the class counts as not done."""
    make_folder(folder, "output folder")
    trigger, content = found.trigger, io.BytesIO()
    np.savez_compressed(content, mask=trigger.mask.numpy(), pattern=trigger.pattern.numpy())
    numbers, said = _paths(folder, trigger.target)
    state = {"key": key, "success": found.success, "worked": found.worked, "rounds": found.rounds}
    state["norm"] = trigger.norm
    said.unlink(missing_ok=True)
    write_atomically(numbers, content.getvalue(), "reversed trigger")
    write_atomically(said, json.dumps(state, indent=2) + "\n", "reversed trigger")


def load_reversed(folder: Path, target: int, key: str | None = None) -> Reversed | None:
    """A class's state where it was finished under `key` (any, where None); None where it was not."""
    numbers, said = _paths(folder, target)
    try:
        state: dict[str, Any] = json.loads(said.read_text(encoding="utf-8"))
        if key is not None and state["key"] != key:
            return None
        with np.load(io.BytesIO(numbers.read_bytes()), allow_pickle=False) as arrays:
            mask, pattern = (
                torch.from_numpy(arrays[name].astype(np.float32)) for name in ("mask", "pattern")
            )
        if mask.ndim != 2 or pattern.shape != (3, *mask.shape):
            return None
        trigger = Trigger(target, mask, pattern)
        return Reversed(trigger, float(state["success"]), bool(state["worked"]), int(state["rounds"]))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def finished_classes(folder: Path) -> list[int]:
    """Classes with a finished state in `folder`."""
    names = (_FINISHED.fullmatch(path.name) for path in folder.glob("class_*.json"))
    return sorted(int(match[1]) for match in names if match)


def chosen_trigger(folder: Path, target: int | None) -> Trigger:
    """The trigger of class `target` in a Neural Cleanse output; where None, the one its outcome suspects.

    Raises UnreadableFile where the folder holds no such trigger.
    """
    if target is None:
        target = _suspected(folder)
    found = None if target is None else load_reversed(folder, target)
    if found is None:
        done = ", ".join(map(str, finished_classes(folder))) or "none"
        what = "flags no class" if target is None else f"holds no reversed trigger of class {target}"
        raise UnreadableFile(
            what,
            where=folder,
            expected=f"the output of weightfeat baseline neural-cleanse (reversed classes: {done})",
            remedy="name a reversed class with --target, or run neural-cleanse with --output first",
        )
    return found.trigger


def _suspected(folder: Path) -> int | None:
    try:
        target = json.loads((folder / "neural-cleanse.json").read_text(encoding="utf-8"))["target"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return target if isinstance(target, int) else None


def _paths(folder: Path, target: int) -> tuple[Path, Path]:
    stem = f"class_{target:03d}"
    return folder / f"{stem}.npz", folder / f"{stem}.json"
