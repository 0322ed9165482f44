"""A cross-validation as a table for the terminal, and as cv.json and predictions.csv."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from weightfeat.evaluation import metrics
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.intervals import Estimate, Margin, bootstrap, paired_bootstrap
from weightfeat.evaluation.silence import Row
from weightfeat.evaluation.strata import Stratum, stratify
from weightfeat.evaluation.strata import as_table as strata_table
from weightfeat.evaluation.tables import Cell, Table
from weightfeat.files import make_folder, write_atomically

# An AUC interval wider than this cannot tell a good detector from a useless one.
WIDE_INTERVAL = 0.2


@dataclass(frozen=True)
class Control:
    """A control's figures, and the detector's minus the control's with paired 95 % intervals."""

    cross_entropy: float
    roc_auc: float
    roc_auc_interval: tuple[float, float]
    cross_entropy_difference: Estimate
    roc_auc_difference: Estimate


@dataclass(frozen=True)
class Report:
    """Everything said of a detector. `cross_entropy_ci95` and `brier_ci95` are half-widths, as the scorer
    gives them.
    """

    models: int
    trojaned: int
    repeats: int
    folds: int
    cross_entropy: float
    cross_entropy_ci95: float
    cross_entropy_interval: tuple[float, float]
    brier: float
    brier_ci95: float
    roc_auc: float
    roc_auc_interval: tuple[float, float]
    roc_auc_101_thresholds: float
    calibration_error: float
    calibration_error_interval: tuple[float, float]
    strata: tuple[Stratum, ...]
    control: Mapping[str, Control]


def summarise(
    cv: CrossValidation,
    rows: Sequence[Row],
    controls: Mapping[str, CrossValidation],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Report:
    """All figures of a cross-validation; `rows` are METADATA rows in the order of `cv.names`, empty where unknown."""
    y, p = cv.labels, cv.probabilities
    ce = bootstrap(y, p, "cross_entropy", draws=draws, seed=seed)
    auc = bootstrap(y, p, "roc_auc", draws=draws, seed=seed)
    calibration = bootstrap(y, p, "calibration_error", draws=draws, seed=seed)
    return Report(
        models=len(y),
        trojaned=int(y.sum()),
        repeats=cv.n_repeats,
        folds=len(cv.fold_names) // cv.n_repeats,
        cross_entropy=ce.value,
        cross_entropy_ci95=metrics.cross_entropy_interval(y, p),
        cross_entropy_interval=(ce.low, ce.high),
        brier=metrics.brier(y, p),
        brier_ci95=metrics.half_width(metrics.elementwise_brier(y, p)),
        roc_auc=auc.value,
        roc_auc_interval=(auc.low, auc.high),
        roc_auc_101_thresholds=metrics.roc_auc_scorer(y, p),
        calibration_error=calibration.value,
        calibration_error_interval=(calibration.low, calibration.high),
        strata=stratify(cv, rows, draws=max(draws // 2, 1), seed=seed),
        control={kind: _control(cv, other, draws, seed) for kind, other in controls.items()},
    )


def _control(cv: CrossValidation, other: CrossValidation, draws: int, seed: int) -> Control:
    y, p, q = cv.labels, cv.probabilities, other.probabilities
    auc = bootstrap(y, q, "roc_auc", draws=draws, seed=seed)
    return Control(
        cross_entropy=metrics.cross_entropy(y, q),
        roc_auc=auc.value,
        roc_auc_interval=(auc.low, auc.high),
        cross_entropy_difference=paired_bootstrap(y, p, q, "cross_entropy", draws=draws, seed=seed),
        roc_auc_difference=paired_bootstrap(y, p, q, "roc_auc", draws=draws, seed=seed),
    )


def as_json(report: Report, also: Mapping[str, Any] | None = None) -> str:
    """The report as JSON text: keys sorted, NaN as null, strata nested by kind and value; the same bytes every time.

    `also` adds entries of JSON values beside the report's own.
    """
    tree = asdict(report) | dict(also or {})
    tree["strata"] = {}
    for stratum in report.strata:
        entry = asdict(stratum)
        del entry["kind"], entry["value"]
        tree["strata"].setdefault(stratum.kind, {})[stratum.value] = entry
    return json.dumps(_without_nan(tree), indent=2, sort_keys=True, allow_nan=False) + "\n"


def _without_nan(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _without_nan(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_without_nan(value) for value in tree]
    return None if isinstance(tree, float) and math.isnan(tree) else tree


def as_predictions(cv: CrossValidation) -> str:
    """CSV text with a row for each model of each repeat; the mean loss of its rows is the report's cross-entropy."""
    rows = [
        (name, int(cv.labels[i]), float(probabilities[i]), int(folds[i]), cv.architectures[i])
        for probabilities, folds in zip(cv.probabilities, cv.folds, strict=True)
        for i, name in enumerate(cv.names)
    ]
    header = ("model", "truth", "probability", "fold", "architecture")
    return Table.of(dict.fromkeys(header, ""), rows).csv()


def write(
    directory: Path, report: Report, cv: CrossValidation, also: Mapping[str, Any] | None = None
) -> None:
    """Write `directory`/predictions.csv and cv.json, each whole or not at all; BadOutput where that cannot be."""
    make_folder(directory, "report folder")
    write_atomically(directory / "predictions.csv", as_predictions(cv), "table of predictions")
    write_atomically(directory / "cv.json", as_json(report, also), "report")


def as_table(report: Report) -> str:
    """The report for a terminal: overall figures, controls, then a line a stratum; intervals are at 95 %."""
    lines = [*_overall(report), "", *_controls(report), "", *_strata(report.strata)]
    low, high = report.roc_auc_interval
    if high - low > WIDE_INTERVAL:
        lines += [
            "",
            f"{report.models} models are too few to tell how accurate the detector is: see the intervals.",
        ]
    return "\n".join(lines) + "\n"


def _overall(report: Report) -> list[str]:
    r = report
    figures: list[tuple[Cell, ...]] = [
        ("cross-entropy", Margin(r.cross_entropy, r.cross_entropy_ci95), _interval(r.cross_entropy_interval)),
        ("Brier", Margin(r.brier, r.brier_ci95), ""),
        ("ROC-AUC", r.roc_auc, _interval(r.roc_auc_interval)),
        ("  with 101 thresholds", r.roc_auc_101_thresholds, ""),
        ("calibration error", r.calibration_error, _interval(r.calibration_error_interval)),
    ]
    return [
        f"{r.models} models, {r.trojaned} trojaned; {r.repeats} x {r.folds} folds",
        *Table.of({"figure": "", "value": ".4f", "bootstrap": ""}, figures).terminal(2),
    ]


def _controls(report: Report) -> list[str]:
    columns = {"control": "", "figure": "", "its own": ".4f", "detector minus control": "+.4f"}
    rows = [
        (kind, name, own, difference)
        for kind, control in sorted(report.control.items())
        for name, own, difference in (
            ("cross-entropy", control.cross_entropy, control.cross_entropy_difference),
            ("ROC-AUC", control.roc_auc, control.roc_auc_difference),
        )
    ]
    return [
        "control: architecture and class count alone, same folds",
        *Table.of(columns, rows).terminal(2),
    ]


def _strata(strata: Sequence[Stratum]) -> list[str]:
    by_kind = groupby(strata, key=lambda stratum: stratum.kind)
    lines = [line for kind, each in by_kind for line in strata_table(f"by {kind}", each).terminal()]
    return [*lines, "strata of trojaned models are ranked against all clean ones"]


def _interval(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"
