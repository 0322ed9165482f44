"""Learned parameters on disk: detector.json and an npz without objects; no pickle anywhere.

detector.json names its companion by the hash of its content. That is written first, it is replaced last in one rename,
and what it no longer names is removed after that: at every moment the folder holds one complete set.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.codec import FORMAT, SCHEMA_VERSION, from_parts, to_document, to_tables
from weightfeat.detector.learned import Learned
from weightfeat.errors import BadLearnedParameters, WeightfeatError
from weightfeat.files import make_folder, read_regular, write_atomically

__all__ = ["FILE", "identity", "load", "save"]

FILE = "detector.json"
LARGEST, LARGEST_TABLES = 16 << 20, 256 << 20
COMPANION = re.compile(r"tables-[0-9a-f]{16}\.npz")
# Versions before this one kept trees as text: what they left is removed too.
LEFTOVER = re.compile(r"(trees|tables)-[0-9a-f]{16}\.(txt|npz)")
PARTIAL = re.compile(r"\.(detector\.json|(trees|tables)-[0-9a-f]{16}\.(txt|npz))\.\d+\.partial")


def save(learned: Learned, directory: Path, scores: Mapping[str, Any] | None = None) -> None:
    """Write `learned` to the folder, made where absent; `scores` (JSON values) are kept with it.

    One writer at a time. Raises BadOutput where the folder cannot be written.
    """
    content = _packed(to_tables(learned))
    digest = hashlib.sha256(content).hexdigest()
    file = {"name": f"tables-{digest[:16]}.npz", "sha256": digest, "bytes": len(content)}
    document = to_document(learned, {"tables": file}, scores)
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    make_folder(directory, "learned parameters' folder")
    write_atomically(directory / str(file["name"]), content, "learned parameters file")
    write_atomically(directory / FILE, text, "learned parameters file")
    _sweep(directory, str(file["name"]))


def load(directory: Path) -> Learned:
    """Read a folder that `save` wrote; hashes, sizes, shapes and indices are all checked before use.

    Raises BadLearnedParameters.
    """
    path = directory / FILE
    try:
        document = json.loads(read_regular(path, LARGEST))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError("is not a weightfeat detector")
        if document.get("schema_version") != SCHEMA_VERSION:
            written, by = document.get("schema_version"), document.get("weightfeat")
            raise _bad(
                path, f"was written as version {written!r} by weightfeat {by!r}", f"version {SCHEMA_VERSION}"
            )
        path = directory / _companion(document)
        tables = _tables(_verified(path, document["files"]["tables"]))
        path = directory / FILE
        return from_parts(document, tables)
    except WeightfeatError:
        raise
    except FileNotFoundError:
        raise _bad(path, "is absent", "the learned parameters that configure writes") from None
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise _bad(path, what, "the learned parameters that configure writes") from None
    except Exception as error:  # zlib, struct, tokenize...: whatever a forged file makes a parser raise
        detail = str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"
        raise _bad(path, f"is not valid ({detail[:200]})", "what configure wrote, unchanged") from None


def identity(learned: Learned) -> str:
    """A sha256 of all that was learned in numbers, the same before saving and after loading."""
    found = hashlib.sha256()
    for name, table in sorted(to_tables(learned).items()):
        found.update(
            f"{name} {table.dtype.str} {table.shape}\n".encode() + np.ascontiguousarray(table).tobytes()
        )
    return found.hexdigest()


def _bad(path: Path, what: str, expected: str) -> BadLearnedParameters:
    return BadLearnedParameters(
        what, where=path, expected=expected, remedy="run configure again, or give another folder"
    )


def _packed(tables: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **tables)
    return buffer.getvalue()


def _tables(content: bytes) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > LARGEST_TABLES:
            raise ValueError("is too large when unpacked")
    with np.load(io.BytesIO(content), allow_pickle=False) as tables:
        return {name: np.ascontiguousarray(tables[name]) for name in tables.files}


def _companion(document: dict[str, Any]) -> str:
    name = document["files"]["tables"]["name"]
    if not isinstance(name, str) or not COMPANION.fullmatch(name):
        raise ValueError(f"names {name!r} as its tables")
    return name


def _verified(path: Path, expected: dict[str, Any]) -> bytes:
    content = read_regular(path, LARGEST_TABLES)
    if hashlib.sha256(content).hexdigest() != expected["sha256"]:
        raise ValueError(f"its sha256 is not the one in {FILE}")
    return content


def _sweep(directory: Path, kept: str) -> None:
    """Remove earlier companions and what a killed writer left; failing to costs space, nothing else."""
    for path in directory.iterdir():
        if (LEFTOVER.fullmatch(path.name) and path.name != kept) or PARTIAL.fullmatch(path.name):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
