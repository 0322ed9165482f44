"""A round while it is being made: which design it holds, what is finished, what was tried in vain."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weightfeat.errors import BadOutput
from weightfeat.files import write_atomically
from weightfeat.rounds.disk import METADATA_FILE
from weightfeat.zoo import metadata
from weightfeat.zoo.begun import begin, has_begun
from weightfeat.zoo.design import fingerprint
from weightfeat.zoo.presets import Preset
from weightfeat.zoo.writer import PARTIAL

_ATTEMPTS = "attempts"
_HOLDINGS = ("id-*", METADATA_FILE)
_NAME = re.compile(r"id-\d{8}")
REJECTION_COLUMNS = (
    "model_name", "attempt", "model_architecture", "poisoned", "design_cell", "missed", "clean_acc", "triggered_acc"
)  # fmt: skip


class RoundFolder:
    """The output folder of one design. What it holds is always whole: a network is there, or is not."""

    def __init__(self, root: Path, preset: Preset, seed: int) -> None:
        self.root, self.preset, self.seed = root, preset, seed

    @contextmanager
    def opened(self) -> Iterator[RoundFolder]:
        """Create or check the folder and keep other runs out of it; a refused folder stays as it was.

        Raises
        ------
        BadOutput : the folder cannot be written, or another run is writing into it.
        BadRound : it holds another design, or something else altogether.
        """
        try:
            has_begun(self.root, self.design(), holdings=_HOLDINGS)
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".lock").open("w")
        except OSError as error:
            raise _cannot_write(self.root, error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise BadOutput(
                    "another run is writing into this folder",
                    where=self.root,
                    expected="one run a folder",
                    remedy="wait for it, or give it more processes with --jobs",
                ) from error
            # Asked again: before the lock another run may have begun its own.
            begin(self.root, self.design(), holdings=_HOLDINGS)
            for leftover in self.root.glob("*" + PARTIAL):
                shutil.rmtree(leftover, ignore_errors=True)
            yield self

    def design(self) -> str:
        """What design.json says: preset, seed, and a hash of everything that decides the networks."""
        hashed = fingerprint(self.preset, self.seed)
        said = {"preset": self.preset.name, "seed": self.seed, "fingerprint": hashed}
        return json.dumps(said, indent=2) + "\n"

    def finished(self) -> list[Path]:
        """Folders of the finished networks, by id."""
        return sorted(p for p in self.root.glob("id-*") if _NAME.fullmatch(p.name) and p.is_dir())

    def is_settled(self, name: str) -> bool:
        """Whether nothing is left to do for a network: it is there, or all its tries missed a gate."""
        return (self.root / name).is_dir() or len(self.missed(name)) >= self.preset.attempts

    def missed(self, name: str) -> list[dict[str, Any]]:
        """A network's tries that missed a gate so far; what a run that was killed has tried is not tried again."""
        path = self._attempts_path(name)
        return list(json.loads(path.read_text())["missed"]) if path.exists() else []

    def record_missed(self, name: str, missed: list[dict[str, Any]]) -> None:
        """Remember a network's tries that missed a gate; written after each of them."""
        path = self._attempts_path(name)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps({"missed": missed}) + "\n", "record of attempts")

    def write_tables(self) -> None:
        """METADATA.csv with its companions, and rejections.csv, from what lies in the folder."""
        metadata.write(self.root, self.finished())
        settled = [
            p.stem for p in sorted((self.root / _ATTEMPTS).glob("id-*.json")) if self.is_settled(p.stem)
        ]
        rejected = [r for name in settled for r in self.missed(name)]
        metadata.write_table(self.root / "rejections.csv", rejected, REJECTION_COLUMNS)

    def _attempts_path(self, name: str) -> Path:
        return self.root / _ATTEMPTS / f"{name}.json"


def _cannot_write(root: Path, error: OSError) -> BadOutput:
    return BadOutput(
        f"cannot be written ({error.strerror})",
        where=root,
        expected="a folder with room for the networks",
        remedy="make room or choose another --out; what was finished is kept, run again to go on",
    )
