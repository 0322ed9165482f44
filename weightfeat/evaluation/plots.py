"""Pictures of a cross-validation, as PNG bytes: matplotlib's Agg alone, no window and no global state.

matplotlib is imported by the functions that draw; who only scores models need not have it.
"""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weightfeat.evaluation import metrics
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.intervals import Estimate, resampled
from weightfeat.evaluation.learning_curve import Point
from weightfeat.evaluation.metrics import BINS, Floats
from weightfeat.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLEAN, TROJANED, OURS = "#4477aa", "#cc6677", "#222222"
logger = logging.getLogger(__name__)

LABELS = {"cross_entropy": "cross-entropy (nats)", "roc_auc": "ROC-AUC"}


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def write(directory: Path, pictures: Mapping[str, Callable[[], bytes]]) -> None:
    """Draw and write each by its file name, whole or not at all; a warning where matplotlib is absent."""
    if pictures and not available():
        logger.warning("no plots: matplotlib is not installed; pip install 'weightfeat[plots]'")
        return
    for name, draw in pictures.items():
        write_atomically(directory / name, draw(), "plot")


def figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of `width` x `height` inches and its panels, row by row."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    panels = made.subplots(rows, columns, squeeze=False).ravel().tolist()
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(alpha=0.25, linewidth=0.6)
    return made, panels


def png(made: Figure) -> bytes:
    """The figure's bytes, the same for the same figure: no date and no version in them."""
    stream = io.BytesIO()
    made.savefig(stream, format="png", dpi=120, metadata={"Software": None})
    return stream.getvalue()


def reliability(cv: CrossValidation, error: Estimate, *, draws: int = 1000, seed: int = 0) -> bytes:
    """Share of trojaned models against probability, by bins, over how many models of each label each bin holds.

    Bars are 95 % intervals by bootstrap over models; the calibration `error` stands in the title.
    """
    y, p = cv.labels, cv.probabilities
    table = metrics.reliability_table(y, p)
    low, high = _share_intervals(cv, draws, seed)
    numbers = metrics.bin_numbers(table["low"].to_numpy() + 0.5 / BINS)
    share = table["trojaned"].to_numpy()
    made, (above, below) = figure(5.5, 6.5, rows=2)
    above.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="calibrated")
    bars = np.maximum([share - low[numbers], high[numbers] - share], 0)
    above.errorbar(
        table["probability"], share, yerr=bars, fmt="o-", color=OURS, capsize=3, label="95 % over models"
    )
    above.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="share trojaned")
    above.set_title(f"calibration error {error:.3f}", fontsize=10)
    above.legend(frameon=False, fontsize=8)
    edges = np.linspace(0, 1, BINS + 1)
    columns = [p[:, y == label].ravel() for label in (0, 1)]
    below.hist(
        columns,
        bins=edges.tolist(),
        weights=[np.full(column.size, 1 / len(p)) for column in columns],
        color=[CLEAN, TROJANED],
        label=["clean", "trojaned"],
    )
    below.set(xlim=(0, 1), xlabel="probability of a trojan, out of fold", ylabel="models")
    below.legend(frameon=False, fontsize=8)
    return png(made)


def _share_intervals(cv: CrossValidation, draws: int, seed: int) -> tuple[Floats, Floats]:
    """95 % bounds of every bin's share of trojaned models, (BINS,) each; NaN for an empty bin."""
    of_bin = metrics.bin_numbers(cv.probabilities)
    inside = np.array([(of_bin == number).sum(axis=0) for number in range(BINS)], dtype=np.float64).T
    # All models together, not each label by itself: the share of trojaned ones is what is estimated.
    counts = resampled(np.zeros(cv.labels.size, dtype=np.int64), draws, seed)
    held = counts @ inside
    share = np.where(held > 0, counts @ (inside * cv.labels[:, None]) / np.maximum(held, 1), np.nan)
    empty = np.isnan(share).all(axis=0)
    share[:, empty] = 0.0
    low, high = np.nanpercentile(share, (2.5, 97.5), axis=0)
    return np.where(empty, np.nan, low), np.where(empty, np.nan, high)


def learning_curve(points: Sequence[Point]) -> bytes:
    """Both figures against the number of training models, with 95 % bands over the test models."""
    made, panels = figure(8, 3.6, columns=2)
    models = [point.models for point in points]
    for panel, name in zip(panels, LABELS, strict=True):
        estimates: list[Estimate] = [getattr(point, name) for point in points]
        panel.fill_between(
            models, [e.low for e in estimates], [e.high for e in estimates], color=OURS, alpha=0.15
        )
        panel.errorbar(
            models,
            [e.value for e in estimates],
            yerr=np.nan_to_num([getattr(point, f"{name}_spread") for point in points]),
            fmt="o-",
            color=OURS,
            capsize=3,
        )
        panel.set_xscale("log", base=2)
        panel.set_xticks(models, [f"{count:.0f}" for count in models])
        panel.minorticks_off()
        panel.set(xlabel="networks learned from", ylabel=LABELS[name])
    panels[0].set_title("band: 95 % over test networks; bars: spread over draws", fontsize=8, loc="left")
    return png(made)
