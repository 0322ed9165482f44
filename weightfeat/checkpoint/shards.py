"""Networks kept in several files: a folder, or the index that says which tensor lies in which file of it.

The layout is Hugging Face's: `model.safetensors.index.json` (or `pytorch_model.bin.index.json`) holds a `weight_map` of
tensors' names to files beside it, which are called `model-00001-of-00003.safetensors` and the like.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from weightfeat.checkpoint.faults import Abuse, Malformed
from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.prefixes import tensors_under
from weightfeat.checkpoint.types import Checkpoint

INDEX = ".index.json"
PART = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<kind>\.[a-z]+)")
"""The name of a part of a network that is kept in several files."""
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_LARGEST_INDEX = 1 << 24
_MOST_FILES = 1000


@dataclass(frozen=True)
class Shards:
    """Files that hold one network together, in order, and which file each tensor is promised to be in (none where there
    is no index)."""

    files: tuple[Path, ...]
    promised: Mapping[str, str] = field(default_factory=dict)


def shards_at(path: Path) -> Shards | None:
    """The files of the network that a folder or an index stands for; None for any other path.

    A folder stands for a network where it holds an index, all parts of one set, or one file of the usual name.
    Raises Malformed for an index that is none, or parts that are absent; Abuse for an index that leads elsewhere.
    """
    if path.name.endswith(INDEX) and path.is_file():
        return _by_index(path)
    if not path.is_dir():
        return None
    indices = sorted(path.glob("*" + INDEX), key=lambda found: ("safetensors" not in found.name, found.name))
    if indices:
        return _by_index(indices[0])
    return _by_number(path) or next(
        (Shards((path / name,)) for name in _WHOLE if (path / name).is_file()), None
    )


def joined(
    path: Path, parts: Sequence[Checkpoint], promised: Mapping[str, str], key: str | None
) -> Checkpoint:
    """One checkpoint of several files' tensors; its sha256 is of the files' own, by name.

    Raises Malformed where a file lacks a tensor promised, Abuse where two have one of the same name.
    """
    tensors = tuple(tensor for part in parts for tensor in part.tensors)
    names = {tensor.name for tensor in tensors}
    if len(names) < len(tensors):
        raise Abuse("two of its parts have a tensor of the same name")
    unread = any(finding.kind == "unreadable-tensor" for part in parts for finding in part.findings)
    missing = [] if unread else [name for name in promised if not _held(name, names)]
    if missing:
        raise Malformed(
            f"its index promises {describe(missing[0])}, which is not in {describe(promised[missing[0]])}"
        )
    if key is not None:
        tensors = tensors_under(tensors, key)
    lines = "".join(f"{part.path.name}\0{part.sha256}\n" for part in parts)
    return Checkpoint(
        path=path,
        format=f"{parts[0].format}, {len(parts)} files",
        sha256=hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest(),
        tensors=tensors,
        ordered=all(part.ordered for part in parts),
        findings=tuple(dict.fromkeys(finding for part in parts for finding in part.findings)),
    )


def _held(name: str, names: Set[str]) -> bool:
    """Whether a tensor is there, if only under the name it has without what wraps the network."""
    path = name.split(".")
    return any(".".join(path[start:]) in names for start in range(len(path)))


def part_of(path: Path) -> str | None:
    """Which part of how many a file's name says it is ("2 of 3"); None where it says that it is whole."""
    named = PART.fullmatch(path.name)
    if named is None or int(named["count"]) < 2:
        return None
    return f"{int(named['number'])} of {int(named['count'])}"


def _by_index(index: Path) -> Shards:
    promised = _weight_map(index)
    names = sorted(set(promised.values()))
    if len(names) > _MOST_FILES:
        raise Malformed(f"its index names {len(names):,} files")
    for name in names:
        if name != Path(name).name or name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise Abuse(f"its index leads out of its folder, to {describe(name)}")
    return _present(index.parent, names, promised)


def _weight_map(index: Path) -> dict[str, str]:
    try:
        if index.stat().st_size > _LARGEST_INDEX:
            raise Malformed("its index is no index of tensors: it is too large")
        held = json.loads(index.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise Malformed(f"its index {index.name} cannot be read ({type(error).__name__})") from None
    found = held.get("weight_map") if isinstance(held, dict) else None
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise Malformed(f"its index {index.name} has no weight_map of tensors to files")
    return found


def numbered_parts(names: Iterable[str]) -> tuple[str, ...]:
    """All parts, absent ones too, of the only set that the names in a folder are of; none where there are more or none.

    >>> numbered_parts(["model-00002-of-00002.bin", "config.json"])
    ('model-00001-of-00002.bin', 'model-00002-of-00002.bin')
    """
    named = [found for name in names if (found := PART.fullmatch(name)) is not None]
    sets = {(found["stem"], found["count"], found["kind"]) for found in named}
    if len(sets) != 1:
        return ()
    ((stem, count, kind),) = sets
    if not 0 < int(count) <= _MOST_FILES:
        return ()
    return tuple(f"{stem}-{number:05}-of-{count}{kind}" for number in range(1, int(count) + 1))


def _by_number(folder: Path) -> Shards | None:
    parts = numbered_parts(path.name for path in folder.iterdir())
    return _present(folder, parts, {}) if parts else None


def _present(folder: Path, names: Sequence[str], promised: Mapping[str, str]) -> Shards:
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise Malformed(f"{len(absent)} of its {len(names)} parts are absent: {describe(absent[0])}")
    return Shards(tuple(folder / name for name in names), promised)
