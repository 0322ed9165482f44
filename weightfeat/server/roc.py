"""The ROC curve as an SVG picture, drawn by hand: a plotting library would be the heaviest thing here."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["svg"]

SIZE, MARGIN = 400, 50
STYLE = 'font-family="sans-serif" font-size="12" fill="#222"'


def svg(labels: ArrayLike, probabilities: ArrayLike, caption: str) -> str:
    """The picture as text; without both labels the axes and the caption alone."""
    y = np.asarray(labels)
    line = ""
    if 0 in y and 1 in y:
        from sklearn.metrics import roc_curve

        false, true, _ = roc_curve(y, probabilities, drop_intermediate=False)
        points = " ".join(f"{_x(f):.1f},{_y(t):.1f}" for f, t in zip(false, true, strict=True))
        line = f'<polyline points="{points}" fill="none" stroke="#0b62a4" stroke-width="2"/>'
    side = SIZE + 2 * MARGIN
    ticks = "".join(_tick(value) for value in (0.0, 0.25, 0.5, 0.75, 1.0))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="0 0 {side} {side}">\n'
        f'<rect width="{side}" height="{side}" fill="white"/>\n'
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#888"/>\n{ticks}\n'
        f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#bbb" stroke-dasharray="4"/>\n{line}\n'
        f'<text x="{side / 2}" y="{MARGIN - 18}" text-anchor="middle" {STYLE}>{_escaped(caption)}</text>\n'
        f'<text x="{side / 2}" y="{side - 8}" text-anchor="middle" {STYLE}>false positive rate</text>\n'
        f'<text x="14" y="{side / 2}" text-anchor="middle" transform="rotate(-90 14 {side / 2})" {STYLE}>'
        "true positive rate</text>\n</svg>\n"
    )


def _tick(value: float) -> str:
    return (
        f'<text x="{_x(value)}" y="{_y(0) + 16}" text-anchor="middle" {STYLE}>{value:g}</text>'
        f'<text x="{_x(0) - 6}" y="{_y(value) + 4}" text-anchor="end" {STYLE}>{value:g}</text>'
    )


def _x(rate: float) -> float:
    return MARGIN + SIZE * rate


def _y(rate: float) -> float:
    return MARGIN + SIZE * (1 - rate)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
