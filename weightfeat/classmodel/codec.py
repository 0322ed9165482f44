"""Class models as JSON values and arrays, to be kept with the detector; every value is checked on the way back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.classmodel.models import ClassModels
from weightfeat.classmodel.rows import CLASS_COLUMNS, PAIR_COLUMNS
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.detector.linear import Linear

FORMAT = "weightfeat-class-evidence"
VERSION = 2
VECTORS = ("centre", "scale", "coefficient")
COLUMNS = {"target": CLASS_COLUMNS, "pair": PAIR_COLUMNS}

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
