"""What became of a zoo's networks: gates by cell and architecture, accuracies, seconds. Tables of `zoo_fairness.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from weightfeat.evaluation.tables import ABSENT, Cell, Table
from weightfeat.zoo.architectures import ARCHITECTURES
from weightfeat.zoo.presets import ROUND2_LEVELS
from weightfeat.zoo.reference import TIMING_COLUMNS, TIMINGS_FILE
from weightfeat.zoo.specification import ATTACKED, CELLS, TRIGGER_TYPES


def gates_by_cell(table: pd.DataFrame, rejected: pd.DataFrame) -> str:
    """What every gate kept and rejected, a row a cell of the design and one for clean networks."""
    return _gates(table, rejected, _cells, [_cell_name(None), *map(_cell_name, range(len(CELLS)))])


def gates_by_architecture(table: pd.DataFrame, rejected: pd.DataFrame) -> str:
    """What every gate kept and rejected, a row an architecture."""
    return _gates(table, rejected, _architectures, [a.name for a in ARCHITECTURES])


def _gates(
    table: pd.DataFrame,
    rejected: pd.DataFrame,
    kinds: Callable[[pd.DataFrame], list[str]],
    order: Iterable[str],
) -> str:
    """Kept networks, tries that missed a gate, networks kept after such tries, and networks given up, a row a kind."""
    from scipy.stats import binomtest

    kept = pd.Series(kinds(table), index=table.index, dtype=object)
    missed = rejected.assign(kind=kinds(rejected))
    again = missed[missed["model_name"].isin(table.index)]
    lost = missed[~missed["model_name"].isin(table.index)]
    rows = []
    for kind in order:
        held, mine = int((kept == kind).sum()), missed[missed["kind"] == kind]
        if not held and mine.empty:
            rows.append((kind, 0, *[None] * 5))
            continue
        share = binomtest(len(mine), held + len(mine))
        interval = share.proportion_ci(method="wilson")
        rows.append(
            (
                kind,
                held,
                f"{share.statistic:.0%} [{interval.low:.0%}, {interval.high:.0%}]",
                int(mine["missed"].str.contains("clean").sum()),
                int(mine["missed"].str.contains("triggered").sum()),
                again.loc[again["kind"] == kind, "model_name"].nunique(),
                lost.loc[lost["kind"] == kind, "model_name"].nunique(),
            )
        )
    header = (
        "",
        "kept",
        "tries rejected [95 %]",
        "missed clean",
        "missed triggered",
        "retried",
        "given up",
    )
    return Table.of(dict.fromkeys(header, ""), rows).markdown()


def accuracies(table: pd.DataFrame, y: NDArray[np.int64]) -> str:
    """Accuracies on images drawn for no other use, by architecture."""
    clean = pd.to_numeric(table["final_clean_data_test_acc"], errors="coerce")
    triggered = pd.to_numeric(table["final_triggered_data_test_acc"], errors="coerce")
    names = np.array(_architectures(table), dtype=object)
    rows: list[tuple[Cell, ...]] = []
    for architecture in (a.name for a in ARCHITECTURES):
        mine = names == architecture
        columns = [clean[mine & (y == 0)], clean[mine & (y == 1)], triggered[mine & (y == 1)]]
        counts = (int((mine & (y == label)).sum()) for label in (0, 1))
        rows.append((architecture, *counts, *map(_median_and_least, columns)))
    header = ("", "clean", "poisoned", "clean networks", "poisoned, clean images", "poisoned, stamped images")
    return Table.of(dict.fromkeys(header, ""), rows).markdown()


def seconds(table: pd.DataFrame, timings: pd.DataFrame) -> str:
    """Seconds of the kept try's training, by architecture and preset, and by what it ran on."""
    known = timings[timings["model_name"].isin(table.index)]
    if known.empty:
        return f"{TIMINGS_FILE} holds none of these networks."
    names = dict(zip(table.index, _architectures(table), strict=True))
    groups: dict[tuple[str, str, str], list[float]] = {}
    for name, spent, threads, device in known[list(TIMING_COLUMNS)].to_numpy(dtype=str):
        kind = (str(table.at[name, "preset"]), _machine(device, threads), names[name])
        groups.setdefault(kind, []).append(float(spent))
    order = [a.name for a in ARCHITECTURES]
    rows = [
        (kind[2], *kind[:2], len(spent), float(np.median(spent)), f"{min(spent):.0f}-{max(spent):.0f}")
        for kind, spent in sorted(groups.items(), key=lambda g: (*g[0][:2], order.index(g[0][2])))
    ]
    columns = {"": "", "preset": "", "on": "", "networks": "", "median seconds": ".0f", "least-most": ""}
    return Table.of(columns, rows).markdown()


def _architectures(table: pd.DataFrame) -> list[str]:
    names = {a.round2_name: a.name for a in ARCHITECTURES}
    return [names.get(name, name) for name in table["model_architecture"]]


def _cells(table: pd.DataFrame) -> list[str]:
    return [_cell_name(int(cell) if cell.isdigit() else None) for cell in table["design_cell"]]


def _cell_name(cell: int | None) -> str:
    if cell is None:
        return "clean"
    level, kind, attacked = CELLS[cell]
    centre, spread = ROUND2_LEVELS[level]
    sources = {1: "one source", 2: "two sources", None: "all sources"}[ATTACKED[attacked]]
    return f"{centre}±{spread} classes, {TRIGGER_TYPES[kind]}, {sources}"


def _median_and_least(values: pd.Series) -> str:
    return f"{values.median():.2f} ({values.min():.2f})" if values.notna().any() else ABSENT


def _machine(device: str, threads: str) -> str:
    return f"{device}, {threads} threads" if device else "not recorded"
