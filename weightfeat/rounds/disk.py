"""A TrojAI round on disk, rounds 1 to 11: its model files, labels and METADATA.

Rounds 1 to 8 keep the model folders at the root, later ones under `models/`; METADATA.csv stays at the root.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from weightfeat.errors import BadRound, one_line
from weightfeat.rounds.metadata import first_few, parse_label, read_metadata, require_none

logger = logging.getLogger(__name__)

MODEL_FILE = "model.pt"
METADATA_FILE = "METADATA.csv"
TRUTH_FILE = "ground_truth.csv"


@dataclass(frozen=True)
class ModelEntry:
    """One model of a round. `path` is None where METADATA names a model that has no folder.

    `label` is 1 for poisoned, 0 for clean, None where the round keeps it secret; `disagree` where METADATA, which is
    believed, and ground_truth.csv say different things.
    """

    name: str
    path: Path | None
    label: int | None
    metadata: Mapping[str, str]
    disagree: bool = False


@dataclass(frozen=True)
class Round:
    """A round's models in METADATA order (folder order where there is no METADATA).

    `metadata` has one row an entry, indexed by model name, in the same order; without METADATA.csv
    (`has_metadata` says) it has no columns. `left_out` are model folders that no table could name.
    """

    root: Path
    entries: tuple[ModelEntry, ...]
    metadata: pd.DataFrame
    has_metadata: bool
    left_out: tuple[Path, ...] = ()


def read_round(root: Path | str) -> Round:
    """Read the round at `root`, which may be the round's folder or its `models/` folder.

    Nothing is required of the labels here (evaluation rounds have none): see :func:`labelled_entries`. A folder whose
    name is not UTF-8 is left out, and costs a line on stderr; labels that disagree cost a warning.

    Raises
    ------
    BadRound : no folder, no model in it, or a METADATA.csv that is not one.
    """
    given = Path(root)
    if not given.is_dir():
        raise BadRound(
            "not a folder" if given.exists() else "no such folder",
            where=given,
            expected="a round's folder, or the models/ folder in it",
            remedy="check the path",
        )
    top, holder = _locate(given)
    found = tuple(_model_folders(holder))
    left_out = tuple(folder for folder in found if not _is_utf8(folder.name))
    for folder in left_out:
        print(one_line(f"left out: {folder}: its name is not UTF-8; rename it"), file=sys.stderr, flush=True)
    folders = {folder.name: folder for folder in found if folder not in left_out}
    table_path = top / METADATA_FILE
    has_metadata = table_path.is_file()
    table = read_metadata(table_path) if has_metadata else _bare_table(sorted(folders))
    extra = [name for name in sorted(folders) if name not in table.index]
    if extra:
        table = pd.concat([table, _bare_table(extra)]).fillna("")
    if not len(table.index):
        raise BadRound(
            "no models found",
            where=given,
            expected=f"folders id-########/ that hold {MODEL_FILE}, at the root or under models/",
            remedy="point at the folder of a round",
        )
    entries = tuple(_entry(name, row, folders.get(name), table_path) for name, row in _rows(table))
    disagreeing = [entry.name for entry in entries if entry.disagree]
    if disagreeing:
        logger.warning(
            "labels of %d models differ between %s, which is believed, and %s (%s)",
            *(len(disagreeing), table_path, TRUTH_FILE, first_few(disagreeing)),
        )
    return Round(top, entries, table, has_metadata, left_out)


def labelled_entries(
    round_: Round, *, allow_partial: bool = False
) -> tuple[tuple[ModelEntry, Path, int], ...]:
    """Every entry with its model path and label, for learning from.

    With `allow_partial` rows of METADATA without a model on disk are left out, and counted in a warning.

    Raises
    ------
    BadRound : a METADATA row has no folder, a folder has no row, a model has no label, or all labels agree.
    """
    entries = [e for e in round_.entries if e.path is not None and (e.path.is_file() or not allow_partial)]
    if allow_partial and len(entries) < len(round_.entries):
        logger.warning(
            "a part of the round is learned from: %d of %d models are there",
            len(entries),
            len(round_.entries),
        )
    if round_.has_metadata:
        require_none(
            [] if allow_partial else [entry.name for entry in round_.entries if entry.path is None],
            round_.root / METADATA_FILE,
            "rows name models that have no folder",
            f"a folder with {MODEL_FILE} for every row",
            "restore the folders, delete these rows, or learn from what is there with --allow-partial",
        )
        require_none(
            [entry.name for entry in entries if entry.metadata.get("model_name") is None],
            round_.root / METADATA_FILE,
            "model folders have no row",
            "a row for every model folder",
            "add the rows, move the folders away, or remove METADATA.csv to use ground_truth.csv alone",
        )
    require_none(
        [entry.name for entry in entries if entry.label is None],
        round_.root,
        "models have no label",
        f"`poisoned` in {METADATA_FILE}, or {TRUTH_FILE} in the model's folder",
        "add the labels, or leave these models out",
    )
    known = tuple((e, e.path, e.label) for e in entries if e.path is not None and e.label is not None)
    require_both_classes([label for _, _, label in known], round_.root)
    return known


def warn_of_part(there: int, named: int) -> None:
    """Count what is learned from where that is not all that METADATA names."""
    if there < named:
        logger.warning("a part of the round is learned from: %d of %d models are there", there, named)


def require_both_classes(labels: list[int], where: Path) -> None:
    """Raise BadRound unless `labels` holds clean and poisoned models: one class teaches nothing."""
    if len(set(labels)) != 2:
        found = "poisoned" if 1 in labels else "clean"
        raise BadRound(
            f"all {len(labels)} labels say {found}",
            where=where,
            expected="clean and poisoned models",
            remedy="add models of the other class",
        )


def _locate(given: Path) -> tuple[Path, Path]:
    """(the folder METADATA.csv belongs to, the folder that holds the model folders)."""
    if (given / "models").is_dir():
        return given, given / "models"
    if (
        not (given / METADATA_FILE).is_file()
        and (given.parent / METADATA_FILE).is_file()
        and given.name == "models"
    ):
        return given.parent, given
    return given, given


def _model_folders(holder: Path) -> Iterator[Path]:
    for folder in sorted(holder.iterdir()):
        if folder.is_dir() and (folder.name.startswith("id-") or (folder / MODEL_FILE).is_file()):
            yield folder


def _is_utf8(name: str) -> bool:
    """Whether no byte of a file's name had to be smuggled into `name` as half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _bare_table(names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(index=pd.Index(names, dtype=object))


def _rows(table: pd.DataFrame) -> Iterator[tuple[str, dict[str, str]]]:
    columns = [str(column) for column in table.columns]
    for name, values in zip(table.index, table.itertuples(index=False, name=None), strict=True):
        yield str(name), dict(zip(columns, values, strict=True))


def _entry(name: str, row: dict[str, str], folder: Path | None, table_path: Path) -> ModelEntry:
    described = bool(row.get("model_name"))
    label = parse_label(row.get("poisoned", ""), f"{table_path}, {name}, poisoned")
    truth = _ground_truth(folder) if folder is not None else None
    return ModelEntry(
        name=name,
        path=folder / MODEL_FILE if folder is not None else None,
        label=truth if label is None else label,
        metadata=row if described else {},
        disagree=None not in (label, truth) and label != truth,
    )


def _ground_truth(folder: Path) -> int | None:
    path = folder / TRUTH_FILE
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    return parse_label(lines[0] if lines else "", path)
