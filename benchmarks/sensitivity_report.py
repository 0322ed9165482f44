"""Sensitivity to metaparameters as CSV tables, as markdown with how to read it, and as plots."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import numpy as np

from sensitivity_curves import LEAST_TRIALS, Importance, Step
from weightfeat.evaluation.intervals import Estimate
from weightfeat.evaluation.plots import OURS, figure, png

SHOWN = 12
"""Importances in the markdown; the CSV has all."""


def importances_csv(found: Sequence[Importance]) -> str:
    """A row a metaparameter, the most important first."""
    return _csv(
        ("metaparameter", "importance", "low", "high"), [(i.name, i.value, i.low, i.high) for i in found]
    )


def curves_csv(found: Sequence[Step]) -> str:
    """A row a value tried, the chosen one of each metaparameter among them."""
    header = (
        "metaparameter",
        "value",
        "chosen",
        "cross_entropy",
        "low",
        "high",
        "more",
        "more_low",
        "more_high",
    )
    rows = [(s.name, s.value, s.chosen, *_numbers(s.cross_entropy), *_numbers(s.more)) for s in found]
    return _csv(header, rows)


def as_markdown(importances: Sequence[Importance], steps: Sequence[Step]) -> str:
    """Both tables; a difference whose interval excludes zero is set bold."""
    lines = ["## Importance", ""]
    if importances:
        lines += ["| metaparameter | share of variance | 5 to 95 % |", "|---|---|---|"]
        lines += [f"| {i.name} | {i.value:.3f} | {i.low:.3f} to {i.high:.3f} |" for i in importances[:SHOWN]]
        lines += [
            "",
            "fANOVA over the search's complete trials: the share of the loss's variance that each explains by itself;",
            "quantiles over resampled trials. The search looked mostly where the loss is small.",
        ]
    else:
        lines += [f"Fewer than {LEAST_TRIALS} complete trials, or all of the same loss: nothing can be said."]
    lines += ["", "## One at a time", "", "| metaparameter | value | cross-entropy | more than chosen |"]
    lines += ["|---|---|---|---|"]
    for s in steps:
        value = f"{s.value:.4g}" if isinstance(s.value, float) else str(s.value)
        if s.refusal:
            lines.append(f"| {s.name} | {value} | - | cannot be used |")
        elif s.chosen:
            lines.append(f"| {s.name} | {value} (chosen) | {s.cross_entropy:.4f} | |")
        else:
            more = f"{s.more:+.4f}"
            clear = s.more.low > 0 or s.more.high < 0
            lines.append(
                f"| {s.name} | {value} | {s.cross_entropy:.4f} | {f'**{more}**' if clear else more} |"
            )
    lines += [
        "",
        "Cross-validated on the search's folds, all other values as chosen; 95 % by paired bootstrap over networks.",
        "The chosen values were found on these folds, so their own cross-entropy is a little kind.",
    ]
    return "\n".join(lines) + "\n"


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


def _numbers(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
