"""Class models as JSON values and arrays, and as one npz file; every value is checked on the way back."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from weightfeat.classmodel.models import ClassModels
from weightfeat.classmodel.rows import CLASS_COLUMNS, PAIR_COLUMNS
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.detector.linear import Linear
from weightfeat.errors import BadLearnedParameters
from weightfeat.files import write_atomically

FORMAT = "weightfeat-class-evidence"
VERSION = 1
LIMIT = 16 << 20
HEAD = "document"
VECTORS = ("centre", "scale", "coefficient")
COLUMNS = {"target": CLASS_COLUMNS, "pair": PAIR_COLUMNS}

T = TypeVar("T")
Tables = dict[str, NDArray[Any]]


def to_parts(
    models: ClassModels, settings: ClassSettings
) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """JSON values, and arrays named class_<model>_<vector>."""
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION, "settings": asdict(settings)}
    tables: dict[str, NDArray[np.float64]] = {}
    for name, columns in COLUMNS.items():
        linear: Linear | None = getattr(models, name)
        document[name] = None
        if linear is not None:
            document[name] = {"columns": list(columns), "intercept": linear.intercept}
            tables |= {f"class_{name}_{vector}": getattr(linear, vector) for vector in VECTORS}
    return document, tables


def from_parts(document: dict[str, Any], tables: Tables) -> tuple[ClassModels, ClassSettings]:
    """Raises ValueError, KeyError or TypeError for anything that does not fit."""
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise ValueError(f"is {document['format']!r} version {document['version']!r}, not {FORMAT} {VERSION}")
    found = {name: _linear(name, document[name], tables) for name in COLUMNS}
    return ClassModels(found["target"], found["pair"]), ClassSettings(**document["settings"])


def _linear(name: str, entry: Any, tables: Tables) -> Linear | None:
    if entry is None:
        return None
    if tuple(entry["columns"]) != COLUMNS[name]:
        raise ValueError(f"its {name} columns are not those of this version")
    vectors = [tables[f"class_{name}_{vector}"] for vector in VECTORS]
    for vector in vectors:
        if (
            vector.dtype != np.float64
            or vector.shape != (len(COLUMNS[name]),)
            or not np.isfinite(vector).all()
        ):
            raise ValueError(f"a vector of the {name} model does not fit its columns")
    intercept = entry["intercept"]
    if isinstance(intercept, bool) or not isinstance(intercept, int | float) or not np.isfinite(intercept):
        raise ValueError(f"{intercept!r} is not an intercept")
    return Linear(vectors[0], vectors[1], vectors[2], float(intercept))


def save(path: Path, document: dict[str, Any], tables: dict[str, NDArray[np.float64]]) -> None:
    """One npz, the document in it as bytes. Raises BadOutput."""
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(document, allow_nan=False).encode(), dtype=np.uint8)
    np.savez_compressed(buffer, allow_pickle=False, **{HEAD: text}, **tables)
    write_atomically(path, buffer.getvalue(), "class evidence file")


def load(path: Path, build: Callable[[dict[str, Any], Tables], T]) -> T:
    """What `build` makes of the file's document and arrays. Raises BadLearnedParameters."""
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if len(content) > LIMIT or sum(entry.file_size for entry in archive.infolist()) > LIMIT:
                raise ValueError("is too large")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            tables = {name: np.ascontiguousarray(arrays[name]) for name in arrays.files}
        return build(json.loads(tables.pop(HEAD).tobytes()), tables)
    except Exception as error:  # zlib, struct, tokenize...: whatever a forged file makes a parser raise
        raise BadLearnedParameters(
            f"no usable class evidence ({type(error).__name__}: {str(error)[:200]})",
            where=path,
            expected="what ClassEvidence.save wrote with this version",
            remedy="learn it again",
        ) from error
