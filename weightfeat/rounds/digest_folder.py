"""A digest folder: what stands for a round once its models were digested, and holds none of them.

`METADATA.csv` with every label, `index.csv` (model_name, sha256) and `digests/`.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from weightfeat.errors import BadOutput, BadRound
from weightfeat.files import make_folder, write_atomically
from weightfeat.rounds.configs import described
from weightfeat.rounds.disk import METADATA_FILE, Round
from weightfeat.rounds.extraction import ExtractionReport
from weightfeat.rounds.metadata import require_none

INDEX_FILE = "index.csv"
DIGESTS = "digests"

_SHA256 = re.compile(r"[0-9a-f]{64}")  # it becomes a file's name


def require_own_folder(folder: Path, round_: Round, keys: Mapping[str, str] | None = None) -> None:
    """BadOutput where the folder's index lists a network that is not of this round.

    With `keys`, the sha256 by name, also where a name now stands for another file: rounds number their models alike.
    """
    listed = read_index(folder / INDEX_FILE) if (folder / INDEX_FILE).is_file() else {}
    names = {entry.name for entry in round_.entries}
    foreign = [name for name in listed if name not in names]
    if keys:
        foreign += [name for name, key in listed.items() if keys.get(name, key) != key]
    if foreign:
        raise BadOutput(
            f"{len(foreign)} networks listed here are not of {round_.root} ({', '.join(foreign[:3])})",
            where=folder / INDEX_FILE,
            expected="a folder of this round's own",
            remedy=f"give another folder; or, where the round has changed, delete this {INDEX_FILE}: digests stay",
        )


def write_digest_folder(folder: Path, round_: Round, report: ExtractionReport) -> None:
    """Write index.csv and METADATA.csv beside `folder`/digests, for every digested model of the round.

    METADATA.csv gets the labels that the round keeps in ground_truth.csv, and what its models' config.json add, so the
    folder stands alone. Raises BadOutput where the folder lists networks of another round.
    """
    make_folder(folder, "digest folder")
    kept = [(e, report.keys[e.path]) for e in round_.entries if e.path is not None and e.path in report.keys]
    names = [entry.name for entry, _ in kept]
    require_own_folder(folder, round_, {entry.name: key for entry, key in kept})
    table = described(round_).loc[names].copy()
    table["model_name"] = names
    table["poisoned"] = ["" if e.label is None else str(bool(e.label)) for e, _ in kept]
    front = ["model_name", "poisoned"]
    table = table[front + [column for column in table.columns if column not in front]]
    index = pd.DataFrame({"model_name": names, "sha256": [key for _, key in kept]})
    write_atomically(folder / METADATA_FILE, table.to_csv(index=False))
    write_atomically(folder / INDEX_FILE, index.to_csv(index=False))


def read_index(path: Path) -> dict[str, str]:
    """index.csv as {model_name: sha256}; BadRound where it is not one, which anyone may have sent."""
    remedy = "write the digest folder again"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            header, *rows = list(csv.reader(stream)) or [[]]
    except (ValueError, csv.Error, OSError) as error:
        raise BadRound(
            f"not readable as CSV ({error})", where=path, expected="comma-separated values", remedy=remedy
        ) from error
    if header != ["model_name", "sha256"] or any(len(row) != 2 for row in rows):
        raise BadRound(
            "not an index of digests",
            where=path,
            expected="two columns, model_name and sha256",
            remedy=remedy,
        )
    repeated = [name for name, count in Counter(name for name, _ in rows).items() if count > 1]
    require_none(repeated, path, "model names appear twice", "one row a model", remedy)
    keyless = [name for name, key in rows if not _SHA256.fullmatch(key)]
    require_none(keyless, path, "models have no sha256", "64 hexadecimal digits a model", remedy)
    return {name: key for name, key in rows}


def required_file(path: Path) -> Path:
    """The path of a file that every digest folder has. Raises BadRound where it is absent."""
    if not path.is_file():
        raise BadRound(
            "no such file",
            where=path,
            expected=f"a digest folder with {METADATA_FILE}, {INDEX_FILE} and {DIGESTS}/",
            remedy="make one with `weightfeat digest ROUND --store FOLDER`",
        )
    return path
