"""Class models as JSON values and arrays, to be kept with the detector; every value is checked on the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.classmodel.joint import Joint
from weightfeat.classmodel.models import ClassModels
from weightfeat.classmodel.rows import CLASS_COLUMNS, PAIR_COLUMNS, PAIR_OWN
from weightfeat.classmodel.scales import FACTORS, LARGEST_LOG, Scales
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.detector.linear import Linear

FORMAT = "weightfeat-class-evidence"
VERSION = 9
JOINT = ("centre", "scale", "shared", "own")
VECTORS = ("centre", "scale", "coefficient")
SCALES = ("total", "known", "centre", "between", "within")
TARGET_ENTRIES = (*CLASS_COLUMNS, *(f"{name}.squared" for name in CLASS_COLUMNS))
PARTS = {"target": (TARGET_ENTRIES, JOINT), "pair": (PAIR_COLUMNS, VECTORS)}

_ROUNDING = 1e-13

Tables = dict[str, NDArray[Any]]


def to_parts(
    models: ClassModels, settings: ClassSettings
) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """JSON values, and arrays named class_<model>_<vector>; `members` are stacked."""
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION, "settings": asdict(settings)}
    document["architectures"] = list(models.scales.architectures)
    document["families"] = list(models.families)
    tables: dict[str, NDArray[np.float64]] = {
        f"class_scales_{name}": getattr(models.scales, name) for name in SCALES
    }
    for name, (columns, vectors) in PARTS.items():
        model: Joint | Linear | None = getattr(models, name)
        document[name] = None
        if model is not None:
            document[name] = {"columns": list(columns), "intercept": model.intercept}
            tables |= {f"class_{name}_{vector}": getattr(model, vector) for vector in vectors}
    document["members"] = [member.intercept for member in models.members]
    tables |= {f"class_members_{vector}": _stacked(models, vector) for vector in JOINT}
    return document, tables


def _stacked(models: ClassModels, vector: str) -> NDArray[np.float64]:
    """(members, ...) one vector of all of them."""
    return np.array([getattr(member, vector) for member in models.members]).reshape(
        -1, *_shape(vector, TARGET_ENTRIES, len(models.families))
    )


def from_parts(document: dict[str, Any], tables: Tables) -> tuple[ClassModels, ClassSettings]:
    """Raises ValueError, KeyError or TypeError for anything that does not fit."""
    if document["format"] != FORMAT or document["version"] != VERSION:
        raise ValueError(f"is {document['format']!r} version {document['version']!r}, not {FORMAT} {VERSION}")
    settings = ClassSettings(**document["settings"])
    scales = _scales(_words(document, "architectures"), tables, settings.scale_classes)
    families = _words(document, "families")
    target, pair = (_model(name, document[name], tables, len(families)) for name in PARTS)
    models = ClassModels(
        scales,
        families,
        None if target is None else Joint(*target),
        None if pair is None else Linear(*pair),
        _members(document["members"], tables, len(families)),
    )
    return models, settings


def _words(document: dict[str, Any], key: str) -> tuple[str, ...]:
    words = document[key]
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise ValueError(f"{words!r} are not {key}")
    if len(set(words)) < len(words):
        raise ValueError(f"one of the {key} comes twice")
    return tuple(words)


def _scales(architectures: tuple[str, ...], tables: Tables, classes: float) -> Scales:
    columns = len(CLASS_COLUMNS) + len(PAIR_OWN)
    tall, square = (len(architectures), columns), (columns, columns)
    shapes: tuple[tuple[int, ...], ...] = (tall, tall, (columns,), square, square)
    found = {
        name: _checked(tables[f"class_scales_{name}"], shape, f"the scales' {name}")
        for name, shape in zip(SCALES, shapes, strict=True)
    }
    if (np.abs(found["total"]) > LARGEST_LOG * found["known"]).any():
        raise ValueError("a scale is out of all measure, or of no network")
    if np.abs(found["centre"]).max() > LARGEST_LOG:
        raise ValueError("the centre of the scales is out of all measure")
    between, within = (np.linalg.eigvalsh(found[name]) for name in ("between", "within"))
    weakest = FACTORS[0] * between[0] + min(within[0], 0.0)
    # Where this holds, all that is ever made of the two has a Cholesky factor.
    if not weakest > _ROUNDING * (FACTORS[-1] * between[-1] + within[-1]):
        raise ValueError("what scales vary by is no covariance")
    return Scales(architectures, **found, classes=classes)


def _model(name: str, entry: Any, tables: Tables, families: int) -> tuple[Any, ...] | None:
    """The fields of a model in their order; None where nothing was learned."""
    if entry is None:
        return None
    columns, vectors = PARTS[name]
    if tuple(entry["columns"]) != columns:
        raise ValueError(f"its {name} columns are not those of this version")
    found = [
        _checked(
            tables[f"class_{name}_{vector}"],
            _shape(vector, columns, families),
            f"the {name} model's {vector}",
        )
        for vector in vectors
    ]
    return (*found, _intercept(entry["intercept"]))


def _members(intercepts: Any, tables: Tables, families: int) -> tuple[Joint, ...]:
    if not isinstance(intercepts, list):
        raise ValueError(f"{intercepts!r} are not intercepts")
    found = {}
    for vector in JOINT:
        shape = (len(intercepts), *_shape(vector, TARGET_ENTRIES, families))
        found[vector] = _checked(tables[f"class_members_{vector}"], shape, f"the members' {vector}")
    return tuple(
        Joint(**{vector: found[vector][at] for vector in JOINT}, intercept=_intercept(intercept))
        for at, intercept in enumerate(intercepts)
    )


def _shape(vector: str, columns: Sequence[str], families: int) -> tuple[int, ...]:
    """Of one of `JOINT` or `VECTORS`."""
    return (2 + families, len(columns)) if vector == "own" else (len(columns),)


def _intercept(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{value!r} is not an intercept")
    return float(value)


def _checked(array: NDArray[Any], shape: tuple[int, ...], what: str) -> NDArray[np.float64]:
    if array.dtype != np.float64 or array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{what} are not finite numbers in the shape {shape}")
    return array
