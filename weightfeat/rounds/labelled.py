"""Digests with their labels: what a detector learns from and is measured on.

They come from a round (digested as needed) or from a digest folder, which holds no model:
`METADATA.csv`, `index.csv` (model_name, sha256) and `digests/`.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from weightfeat.detector import Samples, Target
from weightfeat.digest import Digest, DigestStore
from weightfeat.errors import BadOutput, BadRound
from weightfeat.evaluation.recipes import levels_of, origin_of
from weightfeat.evaluation.silence import said
from weightfeat.evaluation.trojans import Trojan, trojans_of, unread_targets
from weightfeat.files import make_folder, write_atomically
from weightfeat.rounds.configs import described
from weightfeat.rounds.disk import (
    METADATA_FILE,
    Round,
    labelled_entries,
    require_both_classes,
    warn_of_part,
)
from weightfeat.rounds.extraction import ExtractionReport, digest_models
from weightfeat.rounds.metadata import parse_label, read_metadata, require_none, target_of

logger = logging.getLogger(__name__)

INDEX_FILE = "index.csv"
DIGESTS = "digests"
LEAST_SHARE = 0.9
"""Share of a round's models that must be readable: with fewer, what is learned is of another population."""

_SHA256 = re.compile(r"[0-9a-f]{64}")  # it becomes a file's name
GROUP_COLUMNS = ("group", "base_model", "design_pair", "master_seed")
"""Columns of METADATA that say which networks must stay in one fold; the first that tells any apart does."""


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Models in one order throughout: names, 0/1 labels, digests, and METADATA's rows (strings)."""

    names: tuple[str, ...]
    labels: tuple[int, ...]
    digests: tuple[Digest, ...]
    metadata: pd.DataFrame

    @cached_property
    def samples(self) -> Samples:
        """What learning and measuring get. Raises BadRound as `targets` does."""
        recipe = tuple(origin_of(row) for row in self.rows)
        known = {"names": self.names, "group": self.groups, "targets": self.targets}
        known["levels"] = levels_of(self.rows)
        return Samples.of_digests(self.digests, self.labels, recipe=recipe if any(recipe) else (), **known)

    @property
    def trojans(self) -> tuple[tuple[Trojan, ...], ...]:
        """What METADATA says of every network's triggers; nothing of a clean one's."""
        return tuple(trojans_of(row, bool(label)) for row, label in zip(self.rows, self.labels, strict=True))

    @property
    def targets(self) -> tuple[Target | None, ...]:
        """One entry a network: None for a clean one, and for a trojaned one whose target is not named.

        Raises BadRound where METADATA names a class that the network does not have, or what is no class.
        """
        found = []
        for name, digest, row, trojans in zip(self.names, self.digests, self.rows, self.trojans, strict=True):
            unread = unread_targets(row) if trojans else ()
            classes = {c for trojan in trojans for c in (trojan.target, *trojan.sources) if c is not None}
            beyond = sorted(c for c in classes if c >= digest.num_classes)
            if unread:
                raise _bad_row(name, unread[0])
            if beyond:
                raise _bad_row(name, f"names class {beyond[-1]} of {digest.num_classes}")
            found.append(target_of(trojans, digest.num_classes))
        return tuple(found)

    @cached_property
    def rows(self) -> tuple[dict[str, object], ...]:
        """METADATA's rows by column, in the models' order."""
        columns = self.metadata.columns
        return tuple(dict(zip(columns, row, strict=True)) for row in self.metadata.to_numpy())

    @property
    def groups(self) -> tuple[str, ...]:
        """Models that must stay in one fold share a group; a model whose row names none is its own.

        So do the pairs of a paired design. With one of a pair held out, what is left of its kind has the other label,
        and folds would reward guessing the opposite: stratification bias (Parker, Günter and Bedo 2007,
        doi:10.1186/1471-2105-8-326).
        """
        for column in GROUP_COLUMNS:
            words = [said(row.get(column, "")) for row in self.rows]
            groups = tuple(word or name for name, word in zip(self.names, words, strict=True))
            if any(words) and len(set(groups)) > 1:
                return groups
        return self.names


def _bad_row(name: str, what: str) -> BadRound:
    return BadRound(
        what,
        where=f"{METADATA_FILE}, {name}",
        expected="numbers of target and source classes that the network has, or none",
        remedy="correct the row",
    )


def from_round(
    round_: Round,
    store: DigestStore,
    *,
    jobs: int = 1,
    device: str = "auto",
    progress: bool = True,
    allow_partial: bool = False,
) -> LabelledSet:
    """Digest a labelled round into `store` and return what could be read of it.

    With `allow_partial` models that METADATA names and the disk lacks are left out.

    Raises
    ------
    BadRound : labels are missing or all alike, or fewer than nine models in ten can be read.
    """
    entries = labelled_entries(round_, allow_partial=allow_partial)
    report = digest_models(
        [path for _, path, _ in entries], store, jobs=jobs, device=device, progress=progress
    )
    logger.info(report.summary())
    readable = [(entry, path, label) for entry, path, label in entries if path in report.keys]
    _require_enough(len(readable), len(entries), report, round_.root)
    require_both_classes([label for _, _, label in readable], round_.root)
    names = tuple(entry.name for entry, _, _ in readable)
    return LabelledSet(
        names=names,
        labels=tuple(label for _, _, label in readable),
        digests=tuple(store.get(report.keys[path]) for _, path, _ in readable),
        metadata=described(round_).loc[list(names)],
    )


def from_digests(folder: Path, *, allow_partial: bool = False) -> LabelledSet:
    """The labelled models of a digest folder; with `allow_partial` those of them whose digest is there.

    Raises
    ------
    BadRound : a file of the folder is absent, a row has no digest, or a label is missing.
    """
    metadata = read_metadata(_required(folder / METADATA_FILE))
    index = read_index(_required(folder / INDEX_FILE))
    if "poisoned" not in metadata.columns:
        raise BadRound(
            "no column poisoned",
            where=folder / METADATA_FILE,
            expected="a label for every model",
            remedy="add the column",
        )
    store = DigestStore(folder / DIGESTS)
    if allow_partial:
        held = [name for name in metadata.index if name in index and index[name] in store]
        warn_of_part(len(held), len(metadata))
        metadata = metadata.loc[held]
    names = tuple(str(name) for name in metadata.index)
    _require_digests(names, index, folder)
    labels = [_label(name, metadata, folder) for name in names]
    require_both_classes(labels, folder / METADATA_FILE)
    digests = tuple(store.get(index[name]) for name in names)
    return LabelledSet(names, tuple(labels), digests, metadata)


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


def _label(name: str, metadata: pd.DataFrame, folder: Path) -> int:
    label = parse_label(str(metadata.at[name, "poisoned"]), f"{folder / METADATA_FILE}, {name}, poisoned")
    if label is None:
        raise BadRound(
            f"{name} has no label",
            where=folder / METADATA_FILE,
            expected="True or False in column poisoned",
            remedy="add the label or delete the row",
        )
    return label


def _require_digests(names: Sequence[str], index: dict[str, str], folder: Path) -> None:
    absent = [name for name in names if name not in index]
    if absent:
        raise BadRound(
            f"{len(absent)} models of {METADATA_FILE} are not in the index ({', '.join(absent[:3])})",
            where=folder / INDEX_FILE,
            expected="a digest for every row",
            remedy="digest these models, delete their rows, or learn from the others with --allow-partial",
        )


def _require_enough(readable: int, total: int, report: ExtractionReport, where: Path) -> None:
    if readable < LEAST_SHARE * total:
        raise BadRound(
            f"only {readable} of {total} models could be read (first: {report.failures[0].error})",
            where=where,
            expected=f"at least {LEAST_SHARE:.0%}",
            remedy="mend or remove the models named above",
        )


def _required(path: Path) -> Path:
    if not path.is_file():
        raise BadRound(
            "no such file",
            where=path,
            expected=f"a digest folder with {METADATA_FILE}, {INDEX_FILE} and {DIGESTS}/",
            remedy="make one with `weightfeat digest ROUND --store FOLDER`",
        )
    return path
