"""Digests with their labels: what a detector learns from and is measured on.

They come from a round (digested as needed) or from a digest folder, which holds no model.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from weightfeat.detector import Samples, Target
from weightfeat.digest import Digest, DigestStore
from weightfeat.errors import BadRound
from weightfeat.evaluation.recipes import levels_of, origin_of
from weightfeat.evaluation.silence import said
from weightfeat.evaluation.trojans import Trojan, trojans_of, unread_targets
from weightfeat.rounds.configs import described
from weightfeat.rounds.digest_folder import DIGESTS, INDEX_FILE, read_index, required_file
from weightfeat.rounds.disk import (
    METADATA_FILE,
    Round,
    labelled_entries,
    require_both_classes,
    warn_of_part,
)
from weightfeat.rounds.extraction import ExtractionReport, digest_models
from weightfeat.rounds.metadata import parse_label, read_metadata, target_of

logger = logging.getLogger(__name__)

LEAST_SHARE = 0.9
"""Share of a round's models that must be readable: with fewer, what is learned is of another population."""

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
        return Samples.of_digests(
            self.digests,
            self.labels,
            names=self.names,
            group=self.groups,
            targets=self.targets,
            recipe=recipe if any(recipe) else (),
            levels=levels_of(self.rows),
        )

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
    metadata = read_metadata(required_file(folder / METADATA_FILE))
    index = read_index(required_file(folder / INDEX_FILE))
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
