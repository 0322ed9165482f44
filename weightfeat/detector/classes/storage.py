"""The class models' part of stored learned parameters; every value is checked on the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.classes.joint import Joint
from weightfeat.detector.classes.models import ClassModels
from weightfeat.detector.classes.pairs import PAIR_COLUMNS, PAIR_OWN
from weightfeat.detector.classes.rows import CLASS_COLUMNS
from weightfeat.detector.classes.scales import FACTORS, LARGEST_LOG, Scales
from weightfeat.detector.linear import Linear
from weightfeat.detector.parts import Taker, number, words
from weightfeat.features.summaries import Array

JOINT = ("centre", "scale", "shared", "own")
LINEAR = ("centre", "scale", "coefficient")
SCALES = ("total", "known", "centre", "between", "within")
TARGET_ENTRIES = (*CLASS_COLUMNS, *(f"{name}.squared" for name in CLASS_COLUMNS))
MOST_CLASSES = 1e6
"""What a scale may count as beside a network's own classes; beyond, what is computed with it may be no number."""

_ROUNDING = 1e-13


def to_document(models: ClassModels) -> dict[str, Any]:
    """All but arrays, as JSON values."""
    return {
        "architectures": list(models.scales.architectures),
        "families": list(models.families),
        "target_columns": list(TARGET_ENTRIES),
        "pair_columns": list(PAIR_COLUMNS),
        "target": models.target.intercept,
        "pair": None if models.pair is None else models.pair.intercept,
        "members": [member.intercept for member in models.members],
    }


def to_tables(models: ClassModels) -> dict[str, NDArray[Any]]:
    """Float64 arrays by name; those of members are stacked."""
    tables: dict[str, NDArray[Any]] = {f"scales_{name}": getattr(models.scales, name) for name in SCALES}
    tables |= {f"target_{name}": getattr(models.target, name) for name in JOINT}
    if models.pair is not None:
        tables |= {f"pair_{name}": getattr(models.pair, name) for name in LINEAR}
    for name in JOINT:
        stacked = np.array([getattr(member, name) for member in models.members])
        shape = _shape(name, len(models.families))
        tables[f"members_{name}"] = stacked.reshape(len(models.members), *shape)
    return tables


def from_parts(
    document: Mapping[str, Any], tables: Mapping[str, NDArray[Any]], classes: float
) -> ClassModels:
    """Raises ValueError, KeyError or TypeError for anything that does not fit; `classes` is that of `Scales`."""
    for name, columns in (("target_columns", TARGET_ENTRIES), ("pair_columns", PAIR_COLUMNS)):
        if tuple(document[name]) != columns:
            raise ValueError(f"the {name} of the class evidence are not those of this version")
    take, families = Taker(tables), words(document, "families")
    pair = None
    if document["pair"] is not None:
        vectors = {name: take(f"pair_{name}", (len(PAIR_COLUMNS),)) for name in LINEAR}
        pair = Linear(**vectors, intercept=number(document["pair"]))
    target = {name: take(f"target_{name}", _shape(name, len(families))) for name in JOINT}
    return ClassModels(
        _scales(words(document, "architectures"), take, classes),
        families,
        Joint(**target, intercept=number(document["target"])),
        pair,
        _members(document["members"], take, len(families)),
    )


def _scales(architectures: tuple[str, ...], take: Taker, classes: float) -> Scales:
    if not 0 < number(classes) <= MOST_CLASSES:
        raise ValueError("train_class_scale_classes is out of bounds")
    columns = len(CLASS_COLUMNS) + len(PAIR_OWN)
    tall, square = (len(architectures), columns), (columns, columns)
    shapes: tuple[tuple[int, ...], ...] = (tall, tall, (columns,), square, square)
    found = {name: take(f"scales_{name}", shape) for name, shape in zip(SCALES, shapes, strict=True)}
    if (np.abs(found["total"]) > LARGEST_LOG * found["known"]).any():
        raise ValueError("a scale of the class evidence is out of all measure, or of no network")
    if np.abs(found["centre"]).max() > LARGEST_LOG:
        raise ValueError("the centre of the class evidence's scales is out of all measure")
    _check_covariances(found["between"], found["within"])
    return Scales(architectures, **found, classes=classes)


def _check_covariances(between: Array, within: Array) -> None:
    """Where this holds, all that is ever made of the two has a Cholesky factor."""
    of_between, of_within = np.linalg.eigvalsh(between), np.linalg.eigvalsh(within)
    weakest = FACTORS[0] * of_between[0] + min(of_within[0], 0.0)
    if not weakest > _ROUNDING * (FACTORS[-1] * of_between[-1] + of_within[-1]):
        raise ValueError("what scales of the class evidence vary by is no covariance")


def _members(intercepts: Any, take: Taker, families: int) -> tuple[Joint, ...]:
    if not isinstance(intercepts, list):
        raise ValueError(f"{intercepts!r} are not intercepts")
    count = len(intercepts)
    found = {name: take(f"members_{name}", (count, *_shape(name, families))) for name in JOINT}
    return tuple(
        Joint(**{name: found[name][at] for name in JOINT}, intercept=number(intercept))
        for at, intercept in enumerate(intercepts)
    )


def _shape(name: str, families: int) -> tuple[int, ...]:
    """Of one of `JOINT`."""
    return (2 + families, len(TARGET_ENTRIES)) if name == "own" else (len(TARGET_ENTRIES),)
