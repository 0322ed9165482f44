"""The reference set: what stays of a round once its model files are gone.

A digest folder (`METADATA.csv`, `index.csv`, `digests/`) that grows by one network at a time, beside `design.json` and
`rejections.csv` of the design it belongs to and `timing.csv`. Networks it holds need not be trained again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weightfeat.digest import VERSIONS, DigestStore
from weightfeat.errors import BadRound
from weightfeat.files import make_folder
from weightfeat.rounds.digest_folder import DIGESTS, INDEX_FILE, read_index
from weightfeat.rounds.disk import METADATA_FILE
from weightfeat.rounds.extraction import digest_file
from weightfeat.zoo import metadata
from weightfeat.zoo.begun import begin, has_begun
from weightfeat.zoo.folder import REJECTION_COLUMNS, RoundFolder
from weightfeat.zoo.writer import TIMING_FILE

REJECTIONS_FILE = "rejections.csv"
TIMINGS_FILE = "timing.csv"
TIMING_COLUMNS = ("model_name", "seconds", "threads", "device")
_INDEX_COLUMNS = ("model_name", "sha256")
_HOLDINGS = (METADATA_FILE, INDEX_FILE)

Row = dict[str, str]


class Reference:
    """A reference set on disk, tied to one design (preset and seed).

    Made, it touches nothing: raises BadRound where the folder holds another design, or is the round's own.
    """

    def __init__(self, root: Path, round_: RoundFolder) -> None:
        self.root, self.round = root, round_
        self.store = DigestStore(root / DIGESTS)
        self._check_apart()
        has_begun(root, round_.design(), holdings=_HOLDINGS)

    def begin(self) -> None:
        """Make the folder, and say whose design it holds, where that is not done yet."""
        make_folder(self.root, "reference set")
        begin(self.root, self.round.design(), holdings=_HOLDINGS)

    def settled(self) -> frozenset[str]:
        """Names of networks that need no more training: held, or given up after every try missed a gate."""
        tries = Counter(row["model_name"] for row in metadata.read_table(self.root / REJECTIONS_FILE))
        given_up = {name for name, count in tries.items() if count >= self.round.preset.attempts}
        return frozenset(given_up | self._held(self._index(), self._metadata()))

    def absorb(self) -> int:
        """Digest the round's networks that are not held yet, and take over their rows. Returns how many.

        Safe to kill at any point and to run from several rounds of one design at once: digests come first, then the
        index, then METADATA.csv, so that every row has its digest, and what is not in all three is absorbed again.
        """
        with self._locked():
            index, rows = self._index(), self._metadata()
            held = self._held(index, rows)
            new = [folder for folder in self.round.finished() if folder.name not in held]
            for folder in new:
                digest, known = digest_file(folder / "model.pt", store=self.store)
                if not known:
                    self.store.put(digest)
                index[folder.name] = digest.key
                rows[folder.name] = metadata.row(folder)
            self._write_rejections()
            self._write_timings()
            keys = [{"model_name": name, "sha256": index[name]} for name in sorted(index)]
            metadata.write_table(self.root / INDEX_FILE, keys, _INDEX_COLUMNS)
            if rows:
                # Newest first: columns that a later program added keep their place among the others.
                columns = dict.fromkeys(
                    column for name in sorted(rows, reverse=True) for column in rows[name]
                )
                table = [rows[name] for name in sorted(rows)]
                metadata.write_table(self.root / METADATA_FILE, table, tuple(columns))
            return len(new)

    def renew(self) -> int:
        """Digest again what the round holds of networks whose digest is an earlier version's. Returns how many.

        Only the very same model will do, by its sha256: training again gives it where torch, the kind of processor and
        the number of threads are those of then.
        """
        with self._locked():
            index = self._index()
            held = self._held(index, self._metadata())
            renewed = 0
            for folder in self.round.finished():
                key = index.get(folder.name, "")
                if folder.name not in held:
                    continue
                if not VERSIONS.items() <= self.store.get(key).versions.items():
                    digest, _ = digest_file(folder / "model.pt")
                    if digest.key == key:
                        self.store.put(digest)
                        renewed += 1
            return renewed

    def _held(self, index: dict[str, str], rows: dict[str, Row]) -> frozenset[str]:
        return frozenset(name for name, key in index.items() if name in rows and key in self.store)

    def _index(self) -> dict[str, str]:
        path = self.root / INDEX_FILE
        return read_index(path) if path.exists() else {}

    def _metadata(self) -> dict[str, Row]:
        return {row["model_name"]: row for row in metadata.read_table(self.root / METADATA_FILE)}

    def _write_rejections(self) -> None:
        mine, others = self.root / REJECTIONS_FILE, self.round.root / REJECTIONS_FILE
        rows = (*metadata.read_table(mine), *metadata.read_table(others))
        rejected = {(row["model_name"], int(row["attempt"])): row for row in rows}
        metadata.write_table(mine, [rejected[key] for key in sorted(rejected)], REJECTION_COLUMNS)

    def _write_timings(self) -> None:
        path = self.root / TIMINGS_FILE
        timings = {row["model_name"]: row for row in metadata.read_table(path)}
        for folder in self.round.finished():
            if folder.name not in timings and (folder / TIMING_FILE).exists():
                timings[folder.name] = _timing(folder)
        metadata.write_table(path, [timings[name] for name in sorted(timings)], TIMING_COLUMNS)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time: the folder itself is locked, so nothing is left behind in it."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _check_apart(self) -> None:
        if self.root.resolve() == self.round.root.resolve():
            raise BadRound(
                "the reference set and the round are one folder",
                where=self.root,
                expected="two folders, each with a METADATA.csv of its own",
                remedy="choose another --reference",
            )


def _timing(folder: Path) -> Row:
    """A network's line of timing.csv; blank where an earlier program did not say."""
    said = json.loads((folder / TIMING_FILE).read_text())
    return {
        "model_name": folder.name,
        "seconds": f"{said['training_wall_time_sec']:.1f}",
        "threads": str(said.get("threads", "")),
        "device": str(said.get("device", "")),
    }
