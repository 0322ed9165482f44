"""Rivals beside our detector on the same folds, as one markdown table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rival_detectors.protocol import Rival
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.intervals import Estimate, bootstrap, paired_bootstrap
from weightfeat.evaluation.silence import Row
from weightfeat.evaluation.strata import stratify
from weightfeat.evaluation.tables import ABSENT, Cell, Table

ATTACKED = ("one", "two", "all")
COLUMNS = {
    **{"detector": "", "CE": ".3f", "AUC": ".3f", "CE, ours - theirs": "+.3f", "AUC, ours - theirs": "+.3f"},
    **{"AUC one source": "", "two": "", "all": ""},
}
FEW = 60
"""Fewer networks than this, and a table says that it decides nothing."""


@dataclass(frozen=True)
class Line:
    """One detector's figures; `difference` entries are ours minus this one's, None for ours itself."""

    name: str
    cross_entropy: Estimate
    roc_auc: Estimate
    cross_entropy_difference: Estimate | None
    roc_auc_difference: Estimate | None
    by_sources: Mapping[str, tuple[float, int]]
    note: str = ""


def compare(
    ours: CrossValidation,
    theirs: Sequence[tuple[Rival, CrossValidation]],
    rows: Sequence[Row],
    *,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Line, ...]:
    """Ours first, then every rival in the order given; `rows` are METADATA rows in the order of `ours.names`.

    Raises ValueError where a rival was not tested on the same networks in the same folds.
    """
    for rival, cv in theirs:
        if cv.names != ours.names or not (cv.folds == ours.folds).all():
            raise ValueError(f"{rival.name} was not tested on the same folds")
    first = _line("weightfeat", ours, None, rows, draws, seed)
    rest = (_line(rival.name, cv, ours, rows, draws, seed, rival.note) for rival, cv in theirs)
    return (first, *rest)


def as_markdown(lines: Sequence[Line], cv: CrossValidation, judged: str = "") -> str:
    """The table, its caption first and the rivals' departures from their papers after it.

    `judged` says by what the networks are judged, where it is not by folds.
    """
    models, trojaned = len(cv.labels), int(cv.labels.sum())
    judged = judged or f"{cv.n_repeats} x {len(cv.fold_names) // cv.n_repeats} folds"
    text = [
        f"{models} networks, {trojaned} trojaned; {judged}, the same for every row; "
        "95 % intervals by bootstrap over networks; differences are ours minus theirs, paired.",
        "",
        Table.of(COLUMNS, map(_cells, lines)).markdown(),
    ]
    if models < FEW:
        text += [
            f"{models} networks decide nothing: this table shows that the rivals run, not who is better.\n"
        ]
    notes = [f"- {line.name}: {line.note}." for line in lines if line.note]
    return "\n".join([*text, *notes]) + "\n"


def _line(
    name: str,
    cv: CrossValidation,
    ours: CrossValidation | None,
    rows: Sequence[Row],
    draws: int,
    seed: int,
    note: str = "",
) -> Line:
    y, p = cv.labels, cv.probabilities

    def against(statistic: str) -> Estimate | None:
        if ours is None:
            return None
        return paired_bootstrap(y, ours.probabilities, p, statistic, draws=draws, seed=seed)

    cells = {s.value: (s.roc_auc, s.trojaned) for s in stratify(cv, rows, draws=1) if s.kind == "attacked"}
    return Line(
        name=name,
        cross_entropy=bootstrap(y, p, "cross_entropy", draws=draws, seed=seed),
        roc_auc=bootstrap(y, p, "roc_auc", draws=draws, seed=seed),
        cross_entropy_difference=against("cross_entropy"),
        roc_auc_difference=against("roc_auc"),
        by_sources={name: cells[name] for name in ATTACKED if name in cells},
        note=note,
    )


def _cells(line: Line) -> tuple[Cell, ...]:
    strata = [line.by_sources.get(name, (math.nan, 0)) for name in ATTACKED]
    return (
        *(line.name, line.cross_entropy, line.roc_auc),
        *(line.cross_entropy_difference, line.roc_auc_difference),
        *(f"{value:.3f} (n {count})" if count else ABSENT for value, count in strata),
    )
