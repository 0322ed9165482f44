"""What an evaluation is worth: the scorer's figures, every fault with its remedy, the files that show both."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from weightfeat.evaluation import metrics
from weightfeat.evaluation.intervals import Estimate, Margin
from weightfeat.evaluation.tables import Cell, Table
from weightfeat.files import write_atomically
from weightfeat.server import roc
from weightfeat.server.costs import Spread, spread
from weightfeat.server.folder import Outcome
from weightfeat.server.verdicts import REMEDIES, Reason

__all__ = ["Figures", "as_table", "figures", "write"]

RESULTS_HEADER = (
    *("model", "label", "score", "value", "reason", "detail"),
    *("exit_code", "seconds", "overhead", "peak_mib", "warnings"),
)
COSTS = {"seconds": ("detector, s", 2), "overhead": ("server besides, s", 3), "peak_mib": ("memory, MiB", 0)}
"""What a reader is told of each cost: its name, and how many decimals."""


@dataclass(frozen=True)
class Figures:
    """The score of the models whose label is known; NaN where both labels are needed and one is absent.

    `cross_entropy_ci` and `brier_ci95` are half-widths, the former by level in percent. `roc_auc_101_thresholds` is
    the scorer's area until late 2023, `roc_auc` the later one.
    """

    models: int
    trojaned: int
    missing: int
    cross_entropy: float
    cross_entropy_ci: dict[int, float]
    brier: float
    brier_ci95: float
    roc_auc: float
    roc_auc_101_thresholds: float


def figures(outcomes: Sequence[Outcome]) -> Figures | None:
    """The scorer's figures, None where no label is known.

    Scores are clipped to [0, 1] first, which changes no cross-entropy; the Brier score takes numbers as written.
    """
    known = _labelled(outcomes)
    if not known:
        return None
    y, p = _columns(known)
    losses = metrics.elementwise_cross_entropy(y, p)
    squares = np.square(np.array([_as_written(outcome) for outcome in known]) - np.array(y, dtype=np.float64))
    return Figures(
        models=len(known),
        trojaned=y.count(1),
        missing=sum(outcome.value is None for outcome in known),
        cross_entropy=float(losses.mean()),
        cross_entropy_ci={level: metrics.half_width(losses, level) for level in metrics.Z_OF_LEVEL},
        brier=float(squares.mean()),
        brier_ci95=metrics.half_width(squares),
        roc_auc=metrics.roc_auc(y, p),
        roc_auc_101_thresholds=metrics.roc_auc_scorer(y, p),
    )


def _labelled(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.label is not None]


def _columns(known: Sequence[Outcome]) -> tuple[list[int], list[float]]:
    return [outcome.label or 0 for outcome in known], [outcome.score for outcome in known]


def _as_written(outcome: Outcome) -> float:
    value = outcome.value
    return outcome.score if value is None or math.isinf(value) else value


def write(output: Path, outcomes: Sequence[Outcome], isolation: str) -> Figures | None:
    """Write report.json, results.csv, report.txt and, with labels, confusion.csv and roc.svg; return the figures.

    Each is written whole or not at all; BadOutput where that cannot be.
    """
    found = figures(outcomes)
    document = {
        "isolation": isolation,
        "figures": None if found is None else _without_nan(asdict(found)),
        "reasons": dict(sorted(Counter(str(outcome.reason) for outcome in outcomes).items())),
        **{what: None if cost is None else asdict(cost) for what, cost in _costs(outcomes).items()},
    }
    write_atomically(output / "report.json", json.dumps(document, indent=1) + "\n", "report")
    write_atomically(output / "results.csv", _results(outcomes), "table of results")
    write_atomically(output / "report.txt", as_table(outcomes, isolation), "report")
    if found is not None:
        known = _labelled(outcomes)
        y, p = _columns(known)
        table = metrics.confusion_table(y, p).to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_atomically(output / "confusion.csv", table, "confusion table")
        caption = (
            f"ROC-AUC {found.roc_auc:.4f}, cross-entropy {found.cross_entropy:.4f}, {found.models} models"
        )
        write_atomically(output / "roc.svg", roc.svg(y, p, caption), "ROC curve")
    return found


def as_table(outcomes: Sequence[Outcome], isolation: str) -> str:
    """The report for a terminal: figures, costs, then every model that is not ok with its reason and remedy."""
    found = figures(outcomes)
    lines = [isolation, *_scores(found), *_told(_costs(outcomes)), ""]
    faults = [outcome for outcome in outcomes if outcome.reason is not Reason.OK]
    lines.append(f"{len(outcomes) - len(faults)} of {len(outcomes)} models ok")
    for reason in Reason:
        of_it = [outcome for outcome in faults if outcome.reason is reason]
        if of_it:
            lines.append(f"  {reason}: {len(of_it)}; {REMEDIES[reason]}")
        for outcome in of_it:
            detail = f" ({outcome.detail})" if outcome.detail else ""
            lines.append(f"    {outcome.name} scored {outcome.score:g}{detail}")
    warned = [f"  {outcome.name}: {warning}" for outcome in outcomes for warning in outcome.warnings]
    return "\n".join([*lines, *(["warnings:", *warned] if warned else [])]) + "\n"


def _scores(found: Figures | None) -> list[str]:
    if found is None:
        return ["no model's label is known: nothing is scored"]
    wider = ", ".join(f"{level} % {half:.4f}" for level, half in found.cross_entropy_ci.items())
    rows: list[tuple[Cell, ...]] = [
        ("cross-entropy", Margin(found.cross_entropy, found.cross_entropy_ci[95]), wider),
        ("Brier", Margin(found.brier, found.brier_ci95), ""),
        ("ROC-AUC", found.roc_auc, f"101 thresholds: {found.roc_auc_101_thresholds:.4f}"),
    ]
    return [
        f"{found.models} models with a label, {found.trojaned} trojaned, {found.missing} without a usable result",
        *Table.of({"figure": "", "value": ".4f", "besides": ""}, rows).terminal(2),
    ]


def _costs(outcomes: Sequence[Outcome]) -> dict[str, Spread | None]:
    """Of the models the detector was started on: its seconds, the server's beside them, memory."""
    ran = [outcome for outcome in outcomes if outcome.seconds > 0]
    return {
        "seconds": spread([outcome.seconds for outcome in ran]),
        "overhead": spread([outcome.overhead for outcome in ran]),
        "peak_mib": spread([outcome.peak / 2**20 for outcome in ran]),
    }


def _told(costs: Mapping[str, Spread | None]) -> list[str]:
    rows = [
        (name, f"{Estimate(cost.median, *cost.median_ci95):.{digits}f}", f"{cost.most:.{digits}f}")
        for what, (name, digits) in COSTS.items()
        if (cost := costs[what]) is not None
    ]
    return Table.of({"cost": "", "median": "", "most": ""}, rows).terminal(2) if rows else []


def _results(outcomes: Sequence[Outcome]) -> str:
    rows = [
        (
            *(o.name, o.label, o.score, o.value, o.reason, o.detail, o.exit_code),
            *(round(o.seconds, 3), round(o.overhead, 3), round(o.peak / 2**20, 1), "; ".join(o.warnings)),
        )
        for o in outcomes
    ]
    return Table.of(dict.fromkeys(RESULTS_HEADER, ""), rows).csv()


def _without_nan(tree: dict[str, object]) -> dict[str, object]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value for key, value in tree.items()
    }
