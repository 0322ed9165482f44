"""What the page and the terminal show of one file's evidence: which classes and layers, in what order, and how long
their bars are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weightfeat.detector import Verdict
from weightfeat.report.evidence import Evidence, LayerLine
from weightfeat.report.wording import STANDING

__all__ = ["BINS", "ClassBar", "Column", "classes", "layers", "scale", "standing"]

BINS = 20
_MOST_CLASSES = 15
_MOST_LAYERS = 12


@dataclass(frozen=True)
class ClassBar:
    """A class: how much it looks like a target, and its bar's length in [0, 1]. `part` is "target", "source" or ""."""

    index: int
    value: float
    length: float
    part: str


@dataclass(frozen=True)
class Column:
    """One of `BINS` columns of the scale of probabilities: how many networks got it, and how high they stand."""

    low: float
    high: float
    clean: int
    trojaned: int
    clean_height: float
    trojaned_height: float


def classes(evidence: Evidence, verdict: Verdict) -> tuple[tuple[ClassBar, ...], int]:
    """The classes most like a target, the suspected pair always among them, and how many are not shown."""
    values, suspect = evidence.suspicion, verdict.suspect
    parts: dict[int, str] = {}
    if suspect is not None and verdict.is_named:
        parts = {} if suspect.source is None else {suspect.source: "source"}
        parts[suspect.target] = "target"
    order = np.argsort(-values, kind="stable").tolist()
    chosen = order[:_MOST_CLASSES] + [at for at in parts if at not in order[:_MOST_CLASSES]]
    low, top = min(float(values.min(initial=0.0)), 0.0), max(float(values.max(initial=0.0)), 1e-9)
    bars = tuple(
        ClassBar(at, float(values[at]), (float(values[at]) - low) / (top - low), parts.get(at, ""))
        for at in chosen
    )
    return bars, len(order) - len(bars)


def standing(evidence: Evidence) -> tuple[tuple[str, float], ...]:
    """The suspected target's statistics in words, those that it stands out in most first."""
    found = [(STANDING.get(name, name), value) for name, value in evidence.standing.items()]
    return tuple(sorted(found, key=lambda item: -item[1]))


def scale(evidence: Evidence) -> tuple[Column, ...]:
    """The reference networks' probabilities in columns of equal width."""
    edges = np.linspace(0, 1, BINS + 1)
    clean, trojaned = (np.histogram(values, edges)[0] for values in (evidence.clean, evidence.trojaned))
    highest = max(int(clean.max()), int(trojaned.max()), 1)
    return tuple(
        Column(float(low), float(high), int(c), int(t), c / highest, t / highest)
        for low, high, c, t in zip(edges[:-1], edges[1:], clean, trojaned, strict=True)
    )


def layers(evidence: Evidence) -> tuple[tuple[LayerLine, ...], tuple[LayerLine, ...]]:
    """The layers to look at first, in the network's order, and all others that mix channels: the head and those whose
    largest singular value lies farthest above chance."""
    mixing = [layer for layer in evidence.layers if layer.leading]
    heads = [layer for layer in mixing if layer.role == "head"]
    others = sorted((layer for layer in mixing if layer.role != "head"), key=lambda layer: -layer.leading[0])
    first = {id(layer) for layer in (*heads, *others[: _MOST_LAYERS - len(heads)])}
    return (
        tuple(layer for layer in mixing if id(layer) in first),
        tuple(layer for layer in mixing if id(layer) not in first),
    )
