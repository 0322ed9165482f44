"""The reference set: what stays of a round once its model files are gone.

A digest folder (`METADATA.csv`, `index.csv`, `digests/`) that grows by one network at a time, beside `design.json` and
`rejections.csv` of the design it belongs to. Networks it holds need not be trained again.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

from weightfeat.digest import DigestStore
from weightfeat.errors import BadRound
from weightfeat.extraction import digest_file
from weightfeat.files import make_folder, write_atomically
from weightfeat.labelled import DIGESTS, INDEX_FILE, read_index
from weightfeat.rounds import METADATA_FILE
from weightfeat.zoo import metadata
from weightfeat.zoo.folder import DESIGN_FILE, REJECTION_COLUMNS, RoundFolder

REJECTIONS_FILE = "rejections.csv"
_INDEX_COLUMNS = ("model_name", "sha256")


class Reference:
    """A reference set on disk, tied to one design (preset and seed).

    Raises BadRound on opening when it holds another design.
    """

    def __init__(self, root: Path, round_: RoundFolder) -> None:
        self.root, self.round = root, round_
        self.store = DigestStore(make_folder(root / DIGESTS, "reference set"))
        self._check_design()

    def settled(self) -> frozenset[str]:
        """Names of networks that need no more training: held, or given up after every try missed a gate."""
        tries = Counter(row["model_name"] for row in _rows(self.root / REJECTIONS_FILE))
        given_up = {name for name, count in tries.items() if count >= self.round.preset.attempts}
        return frozenset(given_up | set(self._index()))

    def absorb(self) -> int:
        """Digest the round's networks that are not held yet, and take over their rows. Returns how many."""
        index = self._index()
        rows = {row["model_name"]: row for row in _rows(self.root / METADATA_FILE)}
        new = [folder for folder in self.round.finished() if folder.name not in index]
        for folder in new:
            digest, _ = digest_file(folder / "model.pt", store=self.store)
            self.store.put(digest)
            index[folder.name] = digest.key
            rows[folder.name] = metadata.row(folder)
        rejected = {(r["model_name"], str(r["attempt"])): r for r in _rows(self.root / REJECTIONS_FILE)}
        rejected |= {
            (r["model_name"], str(r["attempt"])): r for r in _rows(self.round.root / REJECTIONS_FILE)
        }
        self._write(METADATA_FILE, [rows[name] for name in sorted(rows)])
        self._write(REJECTIONS_FILE, [rejected[key] for key in sorted(rejected)], REJECTION_COLUMNS)
        self._write(
            INDEX_FILE, [{"model_name": n, "sha256": index[n]} for n in sorted(index)], _INDEX_COLUMNS
        )
        return len(new)

    def _index(self) -> dict[str, str]:
        path = self.root / INDEX_FILE
        return read_index(path) if path.exists() else {}

    def _write(self, name: str, rows: list[dict[str, str]], columns: tuple[str, ...] = ()) -> None:
        if rows or columns:
            metadata.write_table(self.root / name, rows, columns or tuple(rows[0]))

    def _check_design(self) -> None:
        path = self.root / DESIGN_FILE
        mine = (self.round.root / DESIGN_FILE).read_text()
        if not path.exists():
            write_atomically(path, mine, DESIGN_FILE)
        elif json.loads(path.read_text()) != json.loads(mine):
            raise BadRound(
                "holds networks of another design",
                where=self.root,
                expected=f"the {DESIGN_FILE} of {self.round.root}",
                remedy="choose the preset and seed it was begun with, or another folder",
            )


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
