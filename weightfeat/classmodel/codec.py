"""Class models as JSON values and arrays, to be kept with the detector; every value is checked on the way back."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.classmodel.models import ClassModels
from weightfeat.classmodel.rows import CLASS_COLUMNS, PAIR_COLUMNS
from weightfeat.classmodel.scales import Scales
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.detector.linear import Linear

FORMAT = "weightfeat-class-evidence"
VERSION = 3
VECTORS = ("centre", "scale", "coefficient")
SUMS = ("total", "known")
COLUMNS = {"target": CLASS_COLUMNS, "pair": PAIR_COLUMNS}

_LARGEST_LOG = 100.0

Tables = dict[str, NDArray[Any]]


def to_parts(
    models: ClassModels, settings: ClassSettings
) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """JSON values, and arrays named class_<model>_<vector>."""
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION, "settings": asdict(settings)}
    document["architectures"] = list(models.scales.architectures)
    tables: dict[str, NDArray[np.float64]] = {
        f"class_scales_{name}": getattr(models.scales, name) for name in SUMS
    }
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
    scales = _scales(document["architectures"], tables)
    return ClassModels(scales, found["target"], found["pair"]), ClassSettings(**document["settings"])


def _scales(architectures: Any, tables: Tables) -> Scales:
    if not (isinstance(architectures, list) and all(isinstance(name, str) for name in architectures)):
        raise ValueError(f"{architectures!r} are not architectures")
    shape = (len(architectures), len(CLASS_COLUMNS) + len(PAIR_COLUMNS))
    total, known = (_checked(tables[f"class_scales_{name}"], shape, f"the scales' {name}") for name in SUMS)
    if (np.abs(total) > _LARGEST_LOG * known).any():
        raise ValueError("a scale is out of all measure, or of no network")
    return Scales(tuple(architectures), total, known)


def _linear(name: str, entry: Any, tables: Tables) -> Linear | None:
    if entry is None:
        return None
    if tuple(entry["columns"]) != COLUMNS[name]:
        raise ValueError(f"its {name} columns are not those of this version")
    shape = (len(COLUMNS[name]),)
    vectors = [
        _checked(tables[f"class_{name}_{vector}"], shape, f"the {name} model's {vector}")
        for vector in VECTORS
    ]
    intercept = entry["intercept"]
    if isinstance(intercept, bool) or not isinstance(intercept, int | float) or not np.isfinite(intercept):
        raise ValueError(f"{intercept!r} is not an intercept")
    return Linear(vectors[0], vectors[1], vectors[2], float(intercept))


def _checked(array: NDArray[Any], shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    if array.dtype != np.float64 or array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{what} are not finite numbers in the shape {shape}")
    return array
