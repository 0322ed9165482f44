"""Learned parameters as a JSON document and a table of arrays, and back with every value checked."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.calibration import Calibration
from weightfeat.detector.classes import storage
from weightfeat.detector.classes.models import ClassModels
from weightfeat.detector.familiarity import Familiarity
from weightfeat.detector.forest import Forest
from weightfeat.detector.general import storage as general_storage
from weightfeat.detector.general.model import General
from weightfeat.detector.learned import Learned
from weightfeat.detector.normaliser import Normaliser
from weightfeat.detector.novelty import GRID, Population
from weightfeat.detector.parts import Taker, number, words
from weightfeat.features.training import TRAINING
from weightfeat.metaparameters import Metaparameters

__all__ = ["FORMAT", "SCHEMA_VERSION", "from_parts", "to_document", "to_tables"]

FORMAT = "weightfeat-detector"
SCHEMA_VERSION = 10
TREES, CLASSES, GENERAL = "trees_", "classes_", "general_"  # in front of the names of their arrays
LIBRARIES = ("numpy", "scipy", "scikit-learn", "lightgbm")


def to_document(
    learned: Learned, files: Mapping[str, Any], scores: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Everything but arrays, as JSON values."""
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "weightfeat": _version("weightfeat"),
        "libraries": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
        "files": dict(files),
        "training": learned.training,
        "scores": dict(scores) if scores is not None else None,
        "metaparameters": learned.params.as_dict(),
        "calibration": {"slope": learned.calibration.slope, "shift": learned.calibration.shift},
        "own": learned.own.roc_auc,
        "novelty": {"residual": learned.population.residual},
        "architectures": learned.normaliser.architectures,
        "families": learned.normaliser.families,
        "classes": None if learned.classes is None else storage.to_document(learned.classes),
        "general": None if learned.general is None else general_storage.to_document(learned.general),
        "familiarity": None if learned.familiarity is None else _familiarity_words(learned.familiarity),
        "relative_columns": learned.relative_columns,
        "feature_names": learned.feature_names,
    }


def to_tables(learned: Learned) -> dict[str, NDArray[Any]]:
    """The arrays by name."""
    population = learned.population
    tables: dict[str, NDArray[Any]] = {
        "centre": learned.normaliser.centre,
        "scale": learned.normaliser.scale,
        "novelty_mean": population.mean,
        "novelty_components": population.components,
        "novelty_variances": population.variances,
        "novelty_reference": population.reference,
        **general_storage.tables_of_kind(learned.own, "own"),
    }
    if learned.familiarity is not None:
        tables["familiarity_centre"] = learned.familiarity.centre
        tables["familiarity_scale"] = learned.familiarity.scale
    tables |= {TREES + name: array for name, array in learned.forest.tables().items()}
    if learned.classes is not None:
        tables |= {CLASSES + name: array for name, array in storage.to_tables(learned.classes).items()}
    if learned.general is not None:
        tables |= {
            GENERAL + name: array for name, array in general_storage.to_tables(learned.general).items()
        }
    return tables


def from_parts(document: dict[str, Any], tables: dict[str, NDArray[Any]]) -> Learned:
    """Put the parts together again. Raises ValueError, KeyError or TypeError for anything that does not fit."""
    names, relative = words(document, "feature_names"), words(document, "relative_columns")
    architectures, families = words(document, "architectures"), words(document, "families")
    if not names or not set(relative) <= set(names):
        raise ValueError("relative_columns are not among the feature_names")
    params = Metaparameters.from_dict(document["metaparameters"])
    shares = (params.infer_prior, params.infer_novelty_pull, params.train_class_weight)
    if not 0 < params.infer_clip < 0.5 or not all(0 <= value <= 1 for value in shares):
        raise ValueError("a metaparameter is out of bounds")
    populations, columns = len(architectures) + len(families) + 1, len(names)
    take, calibration = Taker(tables), document["calibration"]
    centre = take("centre", (populations, columns), finite=False)
    scale = take("scale", (populations, columns), lowest=0.0)
    return Learned(
        params=params,
        feature_names=names,
        relative_columns=relative,
        normaliser=Normaliser(architectures, families, centre, scale),
        forest=Forest.of_tables(take.under(TREES), columns + len(relative)),
        calibration=Calibration(number(calibration["slope"], 0.0), number(calibration["shift"])),
        population=_population(document["novelty"], take, columns),
        classes=_classes(document["classes"], take, params),
        general=_general(document["general"], take),
        familiarity=_familiarity(document["familiarity"], take),
        own=general_storage.kind_of_parts(take, "own", document["own"]),
        training=dict(document["training"]),
    )


def _population(document: Mapping[str, Any], take: Taker, columns: int) -> Population:
    rank = len(take.tables["novelty_variances"])
    return Population(
        mean=take("novelty_mean", (columns,)),
        components=take("novelty_components", (rank, columns)),
        variances=take("novelty_variances", (rank,), lowest=1e-12),
        residual=number(document["residual"], 1e-12),
        reference=np.sort(take("novelty_reference", GRID.shape, lowest=0.0)),
    )


def _classes(document: Any, take: Taker, params: Metaparameters) -> ClassModels | None:
    if document is None:
        return None
    if not params.train_class_evidence:
        raise ValueError("there is class evidence though train_class_evidence is off")
    return storage.from_parts(document, take.under(CLASSES), params.train_class_scale_classes)


def _general(document: Any, take: Taker) -> General | None:
    return None if document is None else general_storage.from_parts(document, take.under(GENERAL))


def _familiarity_words(familiarity: Familiarity) -> dict[str, Any]:
    return {
        "numbers": TRAINING,
        "architectures": familiarity.architectures,
        "limit": familiarity.limit,
    }


def _familiarity(document: Any, take: Taker) -> Familiarity | None:
    if document is None:
        return None
    names = words(document, "architectures")
    if words(document, "numbers") != TRAINING:
        raise ValueError("how networks are trained is not told by this version's numbers")
    shape = (len(names), len(TRAINING))
    centre = take("familiarity_centre", shape, finite=False)
    return Familiarity(
        names, centre, take("familiarity_scale", shape, lowest=1e-9), number(document["limit"], 1.0)
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
