"""The folder of an evaluation: one outcome a model, kept so that a killed server can go on, one server at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weightfeat.errors import BadOutput
from weightfeat.files import write_atomically
from weightfeat.server.verdicts import Reason

__all__ = ["Outcome", "alone", "continue_with", "hashes", "keep", "kept"]


@dataclass(frozen=True)
class Outcome:
    """One model's line in the report. `label` is None where the round keeps it secret; memory in bytes.

    `seconds` is the detector's own time, `overhead` all else since the model before was done with: keeping that one's
    outcome, laying this one out, collecting, cleaning up. Both in seconds of wall time.
    """

    name: str
    label: int | None
    reason: Reason
    detail: str
    value: float | None
    score: float
    exit_code: int | None = None
    seconds: float = 0.0
    overhead: float = 0.0
    peak: int = 0
    warnings: tuple[str, ...] = ()


def keep(output: Path, outcome: Outcome) -> None:
    """Write runs/<id>.json, whole or not at all; BadOutput where that cannot be."""
    write_atomically(_record(output, outcome.name), json.dumps(asdict(outcome), indent=1) + "\n", "outcome")


def kept(output: Path, name: str, label: int | None) -> Outcome | None:
    """The outcome of an earlier call, None where there is none that can be read; the label is today's."""
    try:
        fields: dict[str, Any] = json.loads(_record(output, name).read_text())
        fields |= {"reason": Reason(fields["reason"]), "warnings": tuple(fields["warnings"])}
        return Outcome(**fields | {"label": label})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _record(output: Path, name: str) -> Path:
    return output / "runs" / f"{name}.json"


def continue_with(output: Path, now: Mapping[str, Any]) -> None:
    """Note what `output` is an evaluation of, or refuse to mix its outcomes with those of something else.

    Raises
    ------
    BadOutput : it was begun with other values of `now` (JSON values).
    """
    path = output / "evaluation.json"
    if not path.exists():
        write_atomically(path, json.dumps(now, indent=1) + "\n", "evaluation's settings")
        return
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        before = {}
    changed = [key for key, value in now.items() if not isinstance(before, dict) or before.get(key) != value]
    if changed:
        raise BadOutput(
            f"holds an evaluation with another {', '.join(changed)}",
            where=output,
            expected="a new folder, or the same detector and flags to go on with",
            remedy="give another --output",
        )


def hashes(paths: Iterable[Path]) -> dict[str, str]:
    """The sha256 of every file given or below a folder given; what is absent has none."""
    files = [
        file
        for path in paths
        for file in (sorted(path.rglob("*")) if path.is_dir() else [path])
        if file.is_file()
    ]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
    """Hold the folder against another server; the lock goes with the process, however that ends."""
    with (output / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadOutput(
                "another evaluation is running in it",
                where=output,
                expected="one evaluation a folder at a time",
                remedy="wait for it or give another --output",
            ) from None
        yield
