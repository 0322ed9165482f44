"""config.json of a model's folder: what it says where METADATA.csv does not.

Rounds differ in how they write it: names in capitals (2), plain values (3), a list of triggers (4 and 5), or objects of
jsonpickle, a factor of the design being one with a level and a value (10 and 11). It is read as JSON alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from weightfeat.errors import one_line
from weightfeat.evaluation.silence import said
from weightfeat.evaluation.trojans import trojans_of
from weightfeat.rounds.disk import ModelEntry, Round

__all__ = ["CONFIG_FILE", "described", "read_config"]

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
_LARGEST = 2**22  # bytes; a round's are of some kilobytes


def described(round_: Round) -> pd.DataFrame:
    """The round's METADATA, with what the folders' config.json add: columns, and values of cells that say nothing.

    A config.json is read where its network has no row, or is trojaned and its row names no target. One that cannot be
    read costs a warning.
    """
    added = {entry.name: found for entry in round_.entries if _asks(entry) and (found := _config_of(entry))}
    if not added:
        return round_.metadata
    logger.info("%s of %d models read for what METADATA does not say", CONFIG_FILE, len(added))
    table = round_.metadata
    filled: dict[str, list[str]] = dict(
        zip(map(str, table.columns), table.to_numpy().T.tolist(), strict=True)
    )
    for column in dict.fromkeys(column for found in added.values() for column in found):
        cells = zip(table.index, filled.get(column, [""] * len(table)), strict=True)
        filled[column] = [
            cell if said(cell) else added.get(name, {}).get(column, cell) for name, cell in cells
        ]
    return pd.DataFrame(filled, index=table.index, dtype=str)


def read_config(path: Path) -> dict[str, str]:
    """The plain values of a config.json by the names that METADATA gives them, lists of numbers as "[0 3]".

    Raises
    ------
    OSError, ValueError : not readable, or not a JSON object of a usual size.
    """
    with path.open("rb") as stream:
        content = stream.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"larger than {_LARGEST} bytes")
    try:
        document = _unwrapped(json.loads(content))
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return dict(_cells(document))


def _asks(entry: ModelEntry) -> bool:
    """Whether METADATA leaves unsaid what a config.json may say."""
    named = (trojan.target is not None for trojan in trojans_of(entry.metadata, bool(entry.label)))
    return not entry.metadata or (entry.label == 1 and not any(named))


def _config_of(entry: ModelEntry) -> dict[str, str]:
    path = None if entry.path is None else entry.path.with_name(CONFIG_FILE)
    if path is None or not path.is_file():
        return {}
    try:
        return read_config(path)
    except (OSError, ValueError) as error:
        logger.warning(
            "%s", one_line(f"{path}: not read ({error}): what it says of its network is not known")
        )
        return {}


def _unwrapped(value: Any) -> Any:
    """Without what jsonpickle wraps around values; an object's class stays, as "py/object"."""
    if isinstance(value, list):
        return [_unwrapped(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("py/state"), dict):
        value = {"py/object": value.get("py/object"), **value["py/state"]}
    if "level" in value and "value" in value:  # a factor of the design
        return _unwrapped(value["value"])
    return {str(name).lower(): _unwrapped(item) for name, item in value.items()}


def _cells(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    triggers = document.get("triggers")
    for at, trigger in enumerate(triggers if isinstance(triggers, list) else ()):
        if isinstance(trigger, dict):
            kind = str(trigger.get("py/object") or "").rpartition(".")[2]
            if kind.endswith("Executor"):  # rounds 10 and 11, whose triggers are of a class for each kind
                yield f"triggers_{at}_trigger_executor", kind
            yield from ((f"triggers_{at}_{name}", text) for name, text in _plain(trigger))
    yield from _plain(document)


def _plain(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if name.startswith("py/"):
            continue
        if isinstance(value, (str, int, float)):
            yield name, str(value)
        elif isinstance(value, list) and all(isinstance(item, (int, float)) for item in value):
            yield name, "[" + " ".join(map(str, value)) + "]"
