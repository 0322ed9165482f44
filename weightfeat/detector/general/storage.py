"""The general model as JSON values and arrays, and back with every value checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.calibration import Calibration
from weightfeat.detector.general.alternatives import Alternatives
from weightfeat.detector.general.model import General
from weightfeat.detector.general.numbers import NUMBERS
from weightfeat.detector.general.statistics import COLUMNS
from weightfeat.detector.kinds import ALL, Kind
from weightfeat.detector.linear import Linear
from weightfeat.detector.parts import Taker, number, words
from weightfeat.features.cycles import CYCLE_COLUMNS

VECTORS = ("centre", "scale", "coefficient")
LOUDEST = "loudest_"  # in front of the names of their arrays
LABELS = ("clean", "trojaned")
MOST_DOUBT = 20.0
MOST_NETWORKS = 1_000_000

__all__ = ["from_parts", "kind_of_parts", "tables_of_kind", "to_document", "to_tables"]


def to_document(general: General) -> dict[str, Any]:
    """All but arrays, as JSON values."""
    return {
        "columns": list(COLUMNS),
        "numbers": list(NUMBERS),
        "intercept": general.alternatives.intercept,
        "cycle_columns": list(CYCLE_COLUMNS),
        "cycle_intercept": general.alternatives.cycle_intercept,
        "loudest_intercept": general.loudest.intercept,
        "calibration": {"slope": general.calibration.slope, "shift": general.calibration.shift},
        "doubt": general.doubt,
        "kinds": list(general.kinds),
        "roc_auc": [kind.roc_auc for kind in general.kinds.values()],
    }


def to_tables(general: General) -> dict[str, NDArray[Any]]:
    """Float64 arrays by name."""
    tables = {name: getattr(general.alternatives, name) for name in VECTORS}
    tables["cycle"] = general.alternatives.cycle
    tables |= {LOUDEST + name: getattr(general.loudest, name) for name in VECTORS}
    for name, kind in general.kinds.items():
        tables |= tables_of_kind(kind, name)
    return tables


def from_parts(document: Mapping[str, Any], tables: Mapping[str, NDArray[Any]]) -> General:
    """Raises ValueError, KeyError or TypeError for anything that does not fit."""
    read = tuple(tuple(document[name]) for name in ("columns", "numbers", "cycle_columns"))
    if read != (COLUMNS, NUMBERS, CYCLE_COLUMNS):
        raise ValueError("the columns of the general model are not those of this version")
    take, names = Taker(tables), words(document, "kinds")
    if ALL not in names or len(document["roc_auc"]) != len(names):
        raise ValueError("the kinds of the general model do not fit")
    vectors = {name: take(name, (2 * len(COLUMNS),)) for name in VECTORS}
    loudest = {name: take(LOUDEST + name, (len(NUMBERS),)) for name in VECTORS}
    if min(vectors["scale"].min(), loudest["scale"].min()) < 0:
        raise ValueError("a scale of the general model is negative")
    calibration, doubt = document["calibration"], number(document["doubt"], 0.0)
    if doubt > MOST_DOUBT:
        raise ValueError("the doubt of the general model is out of all measure")
    shares = zip(names, document["roc_auc"], strict=True)
    kinds = {name: kind_of_parts(take, name, share) for name, share in shares}
    return General(
        Alternatives(
            **vectors,
            intercept=number(document["intercept"]),
            cycle=take("cycle", (len(CYCLE_COLUMNS),)),
            cycle_intercept=number(document["cycle_intercept"]),
        ),
        Linear(**loudest, intercept=number(document["loudest_intercept"])),
        Calibration(number(calibration["slope"], 0.0), number(calibration["shift"])),
        doubt,
        kinds,
    )


def kind_of_parts(take: Taker, name: str, roc_auc: Any) -> Kind:
    """A kind whose logits are the tables that `tables_of_kind` gave this name."""
    if not number(roc_auc, 0.0) <= 1:
        raise ValueError(f"the ROC-AUC of {name} is out of bounds")
    clean, trojaned = (_ascending(take, f"{name}_{label}") for label in LABELS)
    return Kind(clean, number(roc_auc), trojaned)


def tables_of_kind(kind: Kind, name: str) -> dict[str, NDArray[Any]]:
    """The logits of a kind, by names that begin with its own."""
    return {f"{name}_{label}": getattr(kind, label) for label in LABELS}


def _ascending(take: Taker, name: str) -> NDArray[np.float64]:
    count = len(take.tables[name])
    if count > MOST_NETWORKS:
        raise ValueError(f"{name} is out of bounds")
    return np.sort(take(name, (count,)))
