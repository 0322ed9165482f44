"""Effects as a CSV table, as markdown with how to read it, and as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from weightfeat.evaluation.covariates import COVARIATES
from weightfeat.evaluation.effects import FACTORS, Effect
from weightfeat.evaluation.intervals import Estimate
from weightfeat.evaluation.plots import LABELS, OURS, figure, png
from weightfeat.evaluation.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def as_csv(found: Sequence[Effect]) -> str:
    """A row an effect: its figures and what the level adds to them."""
    figures = ("cross_entropy", "cross_entropy_effect", "roc_auc", "roc_auc_effect")
    rows = [
        (e.term, e.level, e.networks, " ".join(e.balanced), *(getattr(e, name) for name in figures))
        for e in found
    ]
    return Table.of(dict.fromkeys(("term", "level", "networks", "balanced_over", *figures), ""), rows).csv()


def as_markdown(found: Sequence[Effect]) -> str:
    """The table, and how to read it; effects whose interval excludes zero are set bold."""
    if not found:
        return "Too few trojaned networks with a known class count, trigger and number of attacked classes.\n"
    columns = {"term": "", "level": "", "networks": "", "CE": ".3f", "effect on CE": "+.3f"}
    columns |= {"AUC": ".3f", "effect on AUC": "+.3f"}
    rows = [
        (e.term, e.level, e.networks, e.cross_entropy, e.cross_entropy_effect, e.roc_auc, e.roc_auc_effect)
        for e in found
    ]
    table = Table.of(columns, rows, bold=("effect on CE", "effect on AUC"))
    return table.markdown() + "\n".join(["", *_notes(found)]) + "\n"


def _notes(found: Sequence[Effect]) -> list[str]:
    notes = [
        "Trojaned networks only, out of fold; AUC ranks a level's networks against all clean ones. An effect is the",
        "deviation from the mean of the levels; that of a cell, from what its two factors add up to; that of a number,",
        "the change per standard deviation with the factors held fixed. Brackets: 95 %, by bootstrap over networks,",
        "not corrected for the number of effects; bold where zero is outside.",
    ]
    crossed = {e.term: (*e.term.split(" x "), *e.balanced) for e in found if e.term not in COVARIATES}
    unbalanced = {term: [f for f in FACTORS if f not in factors] for term, factors in crossed.items()}
    exceptions = [f"- {term}: not balanced over {' and '.join(f)}" for term, f in unbalanced.items() if f]
    return [*notes, "", "Some cells hold too few networks:", *exceptions] if exceptions else notes


def effects_plot(found: Sequence[Effect]) -> bytes:
    """Every effect with its interval, on both figures, terms kept together."""
    made, panels = figure(10, 1.2 + 0.24 * len(found), columns=2)
    places = np.arange(len(found))[::-1]
    columns = [[e.cross_entropy_effect for e in found], [e.roc_auc_effect for e in found]]
    for panel, estimates, name in zip(panels, columns, LABELS.values(), strict=True):
        colours = [OURS if e.low > 0 or e.high < 0 else "0.6" for e in estimates]
        panel.axvline(0, color="0.6", linewidth=1)
        panel.hlines(places, [e.low for e in estimates], [e.high for e in estimates], colors=colours)
        panel.scatter([e.value for e in estimates], places, c=colours, s=14, zorder=3)
        panel.set_xlabel(f"effect on {name}")
    panels[0].set_yticks(places, [f"{e.term}: {e.level}" for e in found], fontsize=8)
    panels[1].set_yticks(places, [])
    return png(made)


def interactions_plot(found: Sequence[Effect]) -> bytes:
    """For each pair of factors the mean of every cell: lines that are not parallel interact."""
    pairs = list(dict.fromkeys(e.term for e in found if len(e.level.split(" x ")) == 2))
    made, panels = figure(1.0 + 3.4 * max(len(pairs), 1), 6, rows=2, columns=max(len(pairs), 1))
    for place, name in enumerate(LABELS):
        for panel, pair in zip(panels[place * len(pairs) :], pairs, strict=False):
            _lines_of(panel, pair, {e.level: getattr(e, name) for e in found if e.term == pair})
            panel.set_ylabel(LABELS[name])
    return png(made)


def _lines_of(panel: Axes, pair: str, cells: Mapping[str, Estimate]) -> None:
    """One line a level of the first factor over the levels of the second."""
    words = [level.split(" x ") for level in cells]
    across = list(dict.fromkeys(second for _, second in words))
    for number, level in enumerate(dict.fromkeys(first for first, _ in words)):
        estimates = [cells[f"{level} x {second}"] for second in across]
        values = np.array([[e.value, e.low, e.high] for e in estimates]).T
        bars = np.maximum([values[0] - values[1], values[2] - values[0]], 0)
        places = np.arange(len(across)) + 0.06 * number
        panel.errorbar(places, values[0], yerr=bars, fmt="o-", capsize=3, label=level)
    panel.set_xticks(np.arange(len(across)), across)
    panel.set_xlabel(pair.split(" x ")[1])
    panel.legend(title=pair.split(" x ")[0], frameon=False, fontsize=8)
