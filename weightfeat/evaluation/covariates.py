"""Continuous settings of a round's design, and the slope of a figure over one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from weightfeat.evaluation.metrics import Floats
from weightfeat.evaluation.strata import number

COVARIATES: dict[str, tuple[str, ...]] = {
    "fraction": ("triggered_fraction",),
    "trigger size": (
        "trigger_size_percentage_of_foreground_min",
        "trigger_size_percentage_of_foreground_max",
    ),
    "sign size": ("foreground_size_percentage_of_image_min", "foreground_size_percentage_of_image_max"),
    "rain": ("rain_probability",),
    "fog": ("fog_probability",),
}
"""METADATA columns whose mean each is."""


def covariate(name: str, rows: Sequence[Mapping[str, object]]) -> Floats:
    """Its value in every row, (n,); NaN where a column is absent or silent."""
    values = np.array(
        [[number(row, column) for column in COVARIATES[name]] for row in rows], dtype=np.float64
    )
    return np.asarray(values.mean(axis=1), dtype=np.float64)


def slopes(x: Floats, y: Floats, beside: Floats, counts: Floats) -> Floats:
    """Coefficient of x (n,) in the least squares fit of y (draws or 1, n) on x and `beside` (n, k), each draw weighted.

    `counts` is (draws, n), and so are the (draws,) coefficients. Columns that say the same share what they explain.
    """
    design = np.column_stack([x, beside])
    squares = (design[:, :, None] * design[:, None, :]).reshape(len(x), -1)
    normal = (counts @ squares).reshape(-1, design.shape[1], design.shape[1])
    answer = np.linalg.pinv(normal, hermitian=True) @ ((counts * y) @ design)[:, :, None]
    return np.asarray(answer[:, 0, 0], dtype=np.float64)
