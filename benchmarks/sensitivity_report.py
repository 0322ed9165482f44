"""Sensitivity to metaparameters as CSV tables, as markdown with how to read it, and as plots."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sensitivity_curves import LEAST_TRIALS, Importance, Step
from weightfeat.evaluation.intervals import Estimate
from weightfeat.evaluation.plots import OURS, figure, png
from weightfeat.evaluation.tables import Table

SHOWN = 12
"""Importances in the markdown; the CSV has all."""


def importances_csv(found: Sequence[Importance]) -> str:
    """A row a metaparameter, the most important first."""
    return _importances(found).csv()


def curves_csv(found: Sequence[Step]) -> str:
    """A row a value tried, the chosen one of each metaparameter among them."""
    columns = ("metaparameter", "value", "chosen", "cross_entropy", "more")
    rows = [(s.name, s.value, s.chosen, s.cross_entropy, s.more) for s in found]
    return Table.of(dict.fromkeys(columns, ""), rows).csv()


def as_markdown(importances: Sequence[Importance], steps: Sequence[Step]) -> str:
    """Both tables; a difference whose interval excludes zero is set bold."""
    text = f"Fewer than {LEAST_TRIALS} complete trials, or all of the same loss: nothing can be said.\n"
    if importances:
        text = (
            _importances(importances[:SHOWN]).markdown()
            + "\nfANOVA over the search's complete trials: the share of the loss's variance that each explains by "
            "itself, and 5\nto 95 % over resampled trials. The search looked mostly where the loss is small.\n"
        )
    columns = {
        "metaparameter": "",
        "value": ".4g",
        "": "",
        "cross-entropy": ".4f",
        "more than chosen": "+.4f",
    }
    rows = [(s.name, s.value, _remark(s), s.cross_entropy, None if s.chosen else s.more) for s in steps]
    moved = Table.of(columns, rows, bold=("more than chosen",))
    return (
        f"## Importance\n\n{text}\n## One at a time\n\n{moved.markdown()}"
        "\nCross-validated on the search's folds, all other values as chosen; 95 % by paired bootstrap over networks.\n"
        "The chosen values were found on these folds, so their own cross-entropy is a little kind.\n"
    )


def _importances(found: Sequence[Importance]) -> Table:
    rows = [(i.name, Estimate(i.value, i.low, i.high)) for i in found]
    return Table.of({"metaparameter": "", "importance": ".3f"}, rows)


def _remark(step: Step) -> str:
    if step.chosen:
        return "chosen"
    return "cannot be used" if step.refusal else ""


def importances_plot(found: Sequence[Importance]) -> bytes:
    """A bar a metaparameter with its range."""
    made, (panel,) = figure(7, 1.0 + 0.24 * len(found))
    places = np.arange(len(found))[::-1]
    panel.barh(places, [i.value for i in found], color="#4477aa")
    panel.hlines(places, [i.low for i in found], [i.high for i in found], colors=OURS)
    panel.set_yticks(places, [i.name for i in found], fontsize=8)
    panel.set_xlabel("share of the loss's variance (fANOVA)")
    return png(made)


def curves_plot(found: Sequence[Step]) -> bytes:
    """A panel a metaparameter: difference from the chosen values, which a circle marks."""
    names = list(dict.fromkeys(step.name for step in found))
    columns = min(4, len(names))
    made, panels = figure(
        3.1 * columns, 2.6 * math.ceil(len(names) / columns), -(-len(names) // columns), columns
    )
    for panel, name in zip(panels, names, strict=False):
        steps = [step for step in found if step.name == name and not step.refusal]
        places = list(range(len(steps)))
        more = np.array([[s.more.value, s.more.low, s.more.high] for s in steps]).T
        bars = np.maximum([more[0] - more[1], more[2] - more[0]], 0)
        panel.axhline(0, color="0.6", linewidth=1)
        panel.errorbar(places, more[0], yerr=bars, fmt="o-", color=OURS, capsize=3, markersize=4)
        chosen = [place for place, step in zip(places, steps, strict=True) if step.chosen]
        panel.plot(chosen, [0.0] * len(chosen), "o", markersize=11, fillstyle="none", color="#cc6677")
        ticks = [f"{s.value:.3g}" if isinstance(s.value, float) else str(s.value) for s in steps]
        panel.set_xticks(places, ticks, fontsize=7)
        panel.set_title(name, fontsize=8)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    panels[0].set_ylabel("cross-entropy more than chosen", fontsize=8)
    return png(made)
