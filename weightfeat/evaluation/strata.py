"""Results by architecture, trigger type, number of attacked classes and fraction: the cells of Round 2's design."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from weightfeat.evaluation import metrics
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.intervals import Estimate, Margin, bootstrap
from weightfeat.evaluation.tables import Table

UNKNOWN = "unknown"
CLEAN = "none"
FRACTION_EDGES = (0.10, 0.25, 0.50)
CLASSES = ("about 10", "about 20")
CLASS_BORDER = 15
SOURCES = {1: "one", 2: "two"}
TRIGGERS = {"polygon": "polygon", "instagram": "filter", "filter": "filter"}
ABSENT = ("", "none", "nan")


@dataclass(frozen=True)
class Cell:
    """What kind of trojan a METADATA row names; "none" for a clean model, "unknown" where the row is silent.

    `trigger` is polygon, filter or the round's own word; `attacked` is one, two, several or all source
    classes; `fraction` is a bin of the share of stamped images, such as "0.10-0.25".
    """

    trigger: str
    attacked: str
    fraction: str


@dataclass(frozen=True)
class Stratum:
    """A detector's figures on some models.

    `cross_entropy` and `brier` are means over the stratum's own models with the scorer's half-width; a
    stratum of trojaned models alone has no AUC of its own, so there they are ranked against `clean_compared`
    clean models.
    """

    kind: str
    value: str
    models: int
    trojaned: int
    clean_compared: int
    cross_entropy: float
    cross_entropy_ci95: float
    brier: float
    brier_ci95: float
    roc_auc: float
    roc_auc_interval: tuple[float, float]


def trojan_cell(row: Mapping[str, object], *, trojaned: bool | None = None) -> Cell:
    """The cell of one METADATA row of rounds 1 to 4, whose values may be strings or numbers.

    `trojaned` overrides the row's `poisoned`, for rounds that say it in ground_truth.csv only. Columns read:
    poisoned, trigger_type, number_triggered_classes or triggered_classes, number_classes, triggered_fraction.
    """
    poisoned = _truth(_word(row, "poisoned")) if trojaned is None else trojaned
    if poisoned is None:
        return Cell(UNKNOWN, UNKNOWN, UNKNOWN)
    if not poisoned:
        return Cell(CLEAN, CLEAN, CLEAN)
    trigger = _word(row, "trigger_type")
    return Cell(TRIGGERS.get(trigger, trigger) or UNKNOWN, _attacked(row), _fraction_bin(row))


def class_level(row: Mapping[str, object]) -> str:
    """The design's level of the class count, or where it is not named the nearer one."""
    level, count = number(row, "number_classes_level"), number(row, "number_classes")
    if level in (0, 1):
        return CLASSES[int(level)]
    return UNKNOWN if math.isnan(count) else CLASSES[int(count >= CLASS_BORDER)]


def _word(row: Mapping[str, object], column: str) -> str:
    """The value as a lower-case word; empty where it is absent or written as missing."""
    word = str(row.get(column, "")).strip().lower()
    return "" if word in ABSENT else word


def number(row: Mapping[str, object], column: str) -> float:
    """The value of a column; NaN where it is absent, written as missing or not a number."""
    try:
        return float(_word(row, column) or "nan")
    except ValueError:
        return math.nan


def _truth(word: str) -> bool | None:
    return {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(word)


def _attacked(row: Mapping[str, object]) -> str:
    if "all" in (_word(row, "number_triggered_classes"), _word(row, "triggered_classes")):
        return "all"
    count = number(row, "number_triggered_classes")
    if math.isnan(count):
        count = len(_word(row, "triggered_classes").strip("[]").replace(",", " ").split())
    classes = number(row, "number_classes")
    if count < 1:
        return UNKNOWN
    # All but one is every class but the target, which relabelling leaves as it is.
    if count >= 3 and (math.isnan(classes) or count >= classes - 1):
        return "all"
    return SOURCES.get(int(count), "several")


def _fraction_bin(row: Mapping[str, object]) -> str:
    fraction = number(row, "triggered_fraction")
    if not fraction > 0:
        return UNKNOWN
    lows, highs = (0.0, *FRACTION_EDGES), (*FRACTION_EDGES, 1.0)
    low, high = next((pair for pair in zip(lows, highs, strict=True) if fraction <= pair[1]), (0.0, 0.0))
    return f"{low:.2f}-{high:.2f}" if high else UNKNOWN


def stratify(
    cv: CrossValidation,
    rows: Sequence[Mapping[str, object]],
    *,
    clean: Literal["all", "same_architectures"] = "all",
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Stratum, ...]:
    """Figures by architecture, trigger, attacked classes, fraction, and trigger x attacked, in that order.

    `rows` are METADATA rows, one a model, in the order of `cv.names`. A stratum of trojaned models is ranked
    against all clean models, or with `clean="same_architectures"` against those of the architectures it
    holds.
    """
    if len(rows) != len(cv.names):
        raise ValueError(f"{len(rows)} metadata rows for {len(cv.names)} models")
    cells = [trojan_cell(row, trojaned=bool(label)) for row, label in zip(rows, cv.labels, strict=True)]
    kinds: dict[str, Sequence[str]] = {
        "architecture": cv.architectures,
        "trigger": [cell.trigger for cell in cells],
        "attacked": [cell.attacked for cell in cells],
        "fraction": [cell.fraction for cell in cells],
        "trigger x attacked": [
            CLEAN if cell.trigger == CLEAN else f"{cell.trigger} x {cell.attacked}" for cell in cells
        ],
    }
    return tuple(
        stratum
        for kind, values in kinds.items()
        for stratum in by_value(cv, kind, values, clean=clean, draws=draws, seed=seed)
    )


def by_value(
    cv: CrossValidation,
    kind: str,
    values: Sequence[str],
    *,
    clean: Literal["all", "same_architectures"] = "all",
    draws: int = 1000,
    seed: int = 0,
) -> tuple[Stratum, ...]:
    """A stratum for each of `values`, one a model; clean models are chosen as in `stratify`."""
    choose = _all_clean if clean == "all" else _clean_of_same_architectures
    return tuple(
        _stratum(kind, value, np.array([v == value for v in values]), cv, choose, draws, seed)
        for value in sorted(set(values))
    )


Chooser = Callable[[NDArray[np.bool_], CrossValidation], NDArray[np.bool_]]


def _all_clean(inside: NDArray[np.bool_], cv: CrossValidation) -> NDArray[np.bool_]:
    return np.asarray(cv.labels == 0)


def _clean_of_same_architectures(inside: NDArray[np.bool_], cv: CrossValidation) -> NDArray[np.bool_]:
    architectures = np.asarray(cv.architectures, dtype=object)
    return np.asarray((cv.labels == 0) & np.isin(architectures, list(set(architectures[inside]))))


def _stratum(
    kind: str,
    value: str,
    inside: NDArray[np.bool_],
    cv: CrossValidation,
    choose: Chooser,
    draws: int,
    seed: int,
) -> Stratum:
    y, p = cv.labels[inside], cv.probabilities[:, inside]
    only_trojaned = bool(y.all())
    ranked = inside | choose(inside, cv) if only_trojaned else inside
    auc = bootstrap(cv.labels[ranked], cv.probabilities[:, ranked], "roc_auc", draws=draws, seed=seed)
    return Stratum(
        kind=kind,
        value=value,
        models=int(y.size),
        trojaned=int(y.sum()),
        clean_compared=int((cv.labels[ranked] == 0).sum()),
        cross_entropy=metrics.cross_entropy(y, p),
        cross_entropy_ci95=metrics.cross_entropy_interval(y, p),
        brier=metrics.brier(y, p),
        brier_ci95=metrics.half_width(metrics.elementwise_brier(y, p)),
        roc_auc=auc.value,
        roc_auc_interval=(auc.low, auc.high),
    )


def as_table(heading: str, strata: Iterable[Stratum]) -> Table:
    """A row a stratum, its value under `heading`."""
    columns = {"models": "", "trojaned": "", "cross-entropy": ".3f", "Brier": ".3f", "ROC-AUC": ".3f"}
    rows = [
        (
            *(s.value, s.models, s.trojaned),
            *(Margin(s.cross_entropy, s.cross_entropy_ci95), Margin(s.brier, s.brier_ci95)),
            Estimate(s.roc_auc, *s.roc_auc_interval),
        )
        for s in strata
    ]
    return Table.of({heading: "", **columns}, rows)
