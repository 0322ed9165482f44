"""Continuous settings of a round's design, and the slope of a figure over one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from weightfeat.evaluation.metrics import Floats
from weightfeat.evaluation.silence import Row, number
from weightfeat.evaluation.trojans import trojans_of


def covariate(name: str, rows: Sequence[Row]) -> Floats:
    """Its value in the row of every trojaned network, (n,); NaN where a column is absent or silent."""
    return np.array([COVARIATES[name](row) for row in rows], dtype=np.float64)


def _fraction(row: Row) -> float:
    """Mean over the triggers of a trojaned network."""
    fractions = [trojan.fraction for trojan in trojans_of(row, trojaned=True)]
    known = [fraction for fraction in fractions if fraction is not None]
    return float(np.mean(known)) if known and len(known) == len(fractions) else float("nan")


def _mean(row: Row, columns: Sequence[str]) -> float:
    return float(np.mean([number(row, column) for column in columns]))


def _bounds(name: str) -> Callable[[Row], float]:
    return partial(_mean, columns=(f"{name}_min", f"{name}_max"))


COVARIATES: dict[str, Callable[[Row], float]] = {
    "fraction": _fraction,
    "trigger size": _bounds("trigger_size_percentage_of_foreground"),
    "sign size": _bounds("foreground_size_percentage_of_image"),
    "rain": partial(_mean, columns=("rain_probability",)),
    "fog": partial(_mean, columns=("fog_probability",)),
}
"""How each is read of a METADATA row."""


def slopes(x: Floats, y: Floats, beside: Floats, counts: Floats) -> Floats:
    """Coefficient of x (n,) in the least squares fit of y (draws or 1, n) on x and `beside` (n, k), each draw weighted.

    `counts` is (draws, n), and so are the (draws,) coefficients. Columns that say the same share what they explain.
    """
    design = np.column_stack([x, beside])
    squares = (design[:, :, None] * design[:, None, :]).reshape(len(x), -1)
    normal = (counts @ squares).reshape(-1, design.shape[1], design.shape[1])
    answer = np.linalg.pinv(normal, hermitian=True) @ ((counts * y) @ design)[:, :, None]
    return np.asarray(answer[:, 0, 0], dtype=np.float64)
