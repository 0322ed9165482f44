"""Which design a folder holds, asked and said before a round or a reference set writes into it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from weightfeat.errors import BadRound
from weightfeat.files import write_atomically

__all__ = ["begin", "has_begun"]

_DESIGN_FILE = "design.json"


def has_begun(root: Path, design: str, *, holdings: Iterable[str]) -> bool:
    """Whether `root` says that it holds this design; False where it holds nothing yet.

    Parameters
    ----------
    design : what its design.json has to say.
    holdings : patterns of names that only a folder which has begun holds.

    Raises
    ------
    BadRound : it holds another design, or networks without a readable design.json.
    """
    path = root / _DESIGN_FILE
    if not path.exists():
        if any(any(root.glob(pattern)) for pattern in holdings):
            raise _other_design(root, f"networks without a {_DESIGN_FILE}")
        return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _other_design(root, f"networks and an unreadable {_DESIGN_FILE}") from error
    if found != json.loads(design):
        raise _other_design(root, f"another design ({_described(found)}, or another version of the program)")
    return True


def begin(root: Path, design: str, *, holdings: Iterable[str]) -> None:
    """Say whose design a folder holds where that is not done yet; parameters and errors as of `has_begun`."""
    if not has_begun(root, design, holdings=holdings):
        write_atomically(root / _DESIGN_FILE, design, _DESIGN_FILE)


def _described(found: Any) -> str:
    return (
        f"{found.get('preset')!r} with seed {found.get('seed')}" if isinstance(found, dict) else repr(found)
    )


def _other_design(root: Path, found: str) -> BadRound:
    return BadRound(
        f"holds {found}",
        where=root,
        expected="an empty folder, or one begun with the same preset and seed",
        remedy="choose another folder, or the preset and seed it was begun with",
    )
