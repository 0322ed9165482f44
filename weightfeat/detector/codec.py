"""Learned parameters as a JSON document, a table of arrays and text, and back with every value checked."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.calibration import Calibration
from weightfeat.detector.classifier import Classifier
from weightfeat.detector.forest import parse_forest
from weightfeat.detector.learned import Attachment, Learned
from weightfeat.detector.linear import Linear
from weightfeat.detector.normaliser import Normaliser
from weightfeat.detector.novelty import GRID, Population
from weightfeat.metaparameters import Metaparameters

__all__ = ["FORMAT", "SCHEMA_VERSION", "from_parts", "to_document", "to_tables"]

FORMAT = "weightfeat-detector"
SCHEMA_VERSION = 5
ATTACHED = "attached_"  # in front of the names of an attachment's arrays
LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm")


def to_document(
    learned: Learned, files: Mapping[str, Any], scores: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Everything but trees and arrays, as JSON values."""
    calibration, population = learned.calibration, learned.population
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "weightfeat": _version("weightfeat"),
        "libraries": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
        "files": dict(files),
        "training": learned.training,
        "scores": dict(scores) if scores is not None else None,
        "metaparameters": learned.params.as_dict(),
        "calibration": {
            "method": calibration.method,
            "a": calibration.a,
            "b": calibration.b,
            "c": calibration.c,
        },
        "novelty": {"residual": population.residual},
        "logistic": None if learned.classifier.linear is None else learned.classifier.linear.intercept,
        "architectures": learned.normaliser.architectures,
        "families": learned.normaliser.families,
        "attachment": None if learned.attachment is None else learned.attachment.document,
        "raw_columns": learned.raw_columns,
        "feature_names": learned.feature_names,
    }


def to_tables(learned: Learned) -> dict[str, NDArray[Any]]:
    """The arrays by name; the detector's own are float64."""
    population, linear = learned.population, learned.classifier.linear
    tables: dict[str, NDArray[Any]] = {
        "centre": learned.normaliser.centre,
        "scale": learned.normaliser.scale,
        "novelty_mean": population.mean,
        "novelty_components": population.components,
        "novelty_variances": population.variances,
        "novelty_reference": population.reference,
    }
    if linear is not None:
        tables |= {f"logistic_{name}": getattr(linear, name) for name in ("centre", "scale", "coefficient")}
    if learned.attachment is not None:
        tables |= {ATTACHED + name: array for name, array in learned.attachment.tables.items()}
    return tables


def from_parts(document: dict[str, Any], trees: str, tables: dict[str, NDArray[Any]]) -> Learned:
    """Put the parts together again. Raises ValueError, KeyError or TypeError for anything that does not fit."""
    names, raw = _words(document, "feature_names"), _words(document, "raw_columns")
    architectures, families = _words(document, "architectures"), _words(document, "families")
    if not names or not set(raw) <= set(names):
        raise ValueError("raw_columns are not among the feature_names")
    params = Metaparameters.from_dict(document["metaparameters"])
    inference = (
        params.infer_prior,
        params.infer_novelty_pull,
        params.infer_unseen_trees,
        params.train_logistic_weight,
    )
    if not 0 < params.infer_clip < 0.5 or not all(0 <= value <= 1 for value in inference):
        raise ValueError("a metaparameter is out of bounds")
    populations, columns, all_columns = (
        len(architectures) + len(families) + 1,
        len(names),
        len(names) + len(raw),
    )
    take = _Taker(tables)
    centre = take("centre", (populations, columns), finite=False)
    scale = take("scale", (populations, columns), lowest=0.0)
    rank = len(tables["novelty_variances"]) if "novelty_variances" in tables else 0
    population = Population(
        mean=take("novelty_mean", (columns,)),
        components=take("novelty_components", (rank, columns)),
        variances=take("novelty_variances", (rank,), lowest=1e-12),
        residual=_number(document["novelty"]["residual"], 1e-12),
        reference=np.sort(take("novelty_reference", GRID.shape, lowest=0.0)),
    )
    linear = None
    if document["logistic"] is not None:
        middle, spread, coefficient = (
            take(f"logistic_{name}", (all_columns,)) for name in ("centre", "scale", "coefficient")
        )
        linear = Linear(middle, spread, coefficient, _number(document["logistic"]))
    calibration = document["calibration"]
    a, b, c = _number(calibration["a"], 0.0), _number(calibration["b"], 0.0), _number(calibration["c"])
    forest = parse_forest(trees, all_columns)
    return Learned(
        params=params,
        feature_names=names,
        raw_columns=raw,
        normaliser=Normaliser(architectures, families, centre, scale),
        classifier=Classifier(forest, linear, params.train_logistic_weight),
        calibration=Calibration(str(calibration["method"]), a, b, c),
        population=population,
        training=dict(document["training"]),
        attachment=_attachment(document["attachment"], tables),
    )


def _attachment(document: Any, tables: dict[str, NDArray[Any]]) -> Attachment | None:
    if document is None:
        return None
    named = {
        name.removeprefix(ATTACHED): array for name, array in tables.items() if name.startswith(ATTACHED)
    }
    return Attachment(dict(document), named)


class _Taker:
    """Takes float64 arrays of the shape that is due out of an npz's tables."""

    def __init__(self, tables: dict[str, NDArray[Any]]) -> None:
        self.tables = tables

    def __call__(
        self, name: str, shape: tuple[int, ...], *, lowest: float | None = None, finite: bool = True
    ) -> NDArray[np.float64]:
        array = self.tables[name]
        if array.dtype != np.float64 or array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape} of {array.dtype}, not {shape} of float64")
        if (finite and not np.isfinite(array).all()) or (lowest is not None and (array < lowest).any()):
            raise ValueError(f"{name} holds a value out of bounds")
        return array


def _words(document: dict[str, Any], key: str) -> tuple[str, ...]:
    words = document[key]
    if (
        not isinstance(words, list)
        or not all(isinstance(word, str) for word in words)
        or len(set(words)) < len(words)
    ):
        raise ValueError(f"{key} is not a list of distinct names")
    return tuple(words)


def _number(value: Any, lowest: float = -np.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value < np.inf:
        raise ValueError(f"{value!r} is not a number in bounds")
    return float(value)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
