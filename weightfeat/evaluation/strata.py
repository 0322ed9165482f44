"""Results by architecture, trigger type, number of attacked classes and fraction: the cells of Round 2's design."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from weightfeat.evaluation import metrics
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.intervals import Estimate, Margin, bootstrap
from weightfeat.evaluation.silence import Row, number, truth
from weightfeat.evaluation.tables import Table
from weightfeat.evaluation.trojans import UNKNOWN, trojans_of

CLEAN = "none"
MIXED = "mixed"
FRACTION_EDGES = (0.10, 0.25, 0.50)
CLASSES = {15: "about 10", 30: "about 20", 60: "about 40", math.inf: "60 and more"}
"""What numbers of classes below each border are called; the first two are Round 2's levels, whole."""


@dataclass(frozen=True)
class Cell:
    """What kind of trojan a METADATA row names; "none" for a clean model, "unknown" where the row is silent.

    `trigger` is polygon, filter or the round's own word; `attacked` is one, two, several or all source
    classes; `fraction` is a bin of the share of stamped images, such as "0.10-0.25". Of several triggers it is what
    they share, and "mixed" where they differ.
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


def trojan_cell(row: Row, *, trojaned: bool | None = None) -> Cell:
    """The cell of one METADATA row of any round, whose values may be strings or numbers.

    `trojaned` overrides the row's `poisoned`, for rounds that say it in ground_truth.csv only. The columns read are
    those of `trojans_of`.
    """
    poisoned = truth(row.get("poisoned")) if trojaned is None else trojaned
    if poisoned is None:
        return Cell(UNKNOWN, UNKNOWN, UNKNOWN)
    if not poisoned:
        return Cell(CLEAN, CLEAN, CLEAN)
    trojans = trojans_of(row, poisoned)
    return Cell(
        _shared([trojan.trigger for trojan in trojans]),
        _shared([trojan.attacked for trojan in trojans]),
        _shared([_fraction_bin(trojan.fraction) for trojan in trojans]),
    )


def class_level(row: Row) -> str:
    """What the number of classes is called; where it is not said, what the design's level, 0 or 1, stands for.

    Levels of later rounds stand for other numbers than Round 2's: 0 for twenty in round 4 and for 6 to 26 in round 11.
    """
    level, count = number(row, "number_classes_level"), number(row, "number_classes")
    if math.isnan(count):
        return tuple(CLASSES.values())[int(level)] if level in (0, 1) else UNKNOWN
    return next(name for border, name in CLASSES.items() if count < border)


def _shared(words: Sequence[str]) -> str:
    different = set(words)
    return MIXED if len(different) > 1 else next(iter(different), UNKNOWN)


def _fraction_bin(fraction: float | None) -> str:
    if fraction is None or fraction <= 0:
        return UNKNOWN
    lows, highs = (0.0, *FRACTION_EDGES), (*FRACTION_EDGES, 1.0)
    low, high = next((pair for pair in zip(lows, highs, strict=True) if fraction <= pair[1]), (0.0, 0.0))
    return f"{low:.2f}-{high:.2f}" if high else UNKNOWN


def stratify(
    cv: CrossValidation,
    rows: Sequence[Row],
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
