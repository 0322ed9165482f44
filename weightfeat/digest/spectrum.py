"""Block `spectrum`: each layer's singular values, against which the Marchenko-Pastur edge is set later.

Arrays, one row a layer (NaN where a layer has fewer values):

- `leading` (L, 16) float32: the largest singular values of the (out, in * taps) matrix
- `grid` (L, 33) float32: quantiles of all singular values at `QUANTILES`, by linear interpolation
- `folded` (L, 8) float32: the largest singular values once BatchNorm's factor multiplies the rows
- `powers` (L, 4) float32: sums of s, s^2, s^4 and the entropy of s^2 / sum(s^2) in nats
- `sides` (L, 2) int32: the smaller and the larger side; `groups` times the values exist for a grouped convolution
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.linalg import gram, leading_directions, singular_values
from weightfeat.digest.place import AnyArray, host, namespace
from weightfeat.digest.tensors import LayerTensors
from weightfeat.digest.types import Block

VERSION = 1
LEADING = 16
FOLDED = 8
DIRECTIONS = 8
QUANTILES = np.linspace(0.0, 1.0, 33)
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What one layer's Gram matrix gives: its summaries, and its leading left and right directions for `alignment`.

    `left` is (out, 8) and `right` (in * taps, 8), unit columns, of the BatchNorm-folded matrix; None for
    grouped layers.
    """

    leading: NDArray[np.float32]
    grid: NDArray[np.float32]
    folded: NDArray[np.float32]
    powers: NDArray[np.float32]
    sides: NDArray[np.int32]
    left: AnyArray | None
    right: AnyArray | None


def spectrum(tensors: LayerTensors, plain: AnyArray) -> Spectrum:
    """Decompose one layer, from the Gram matrix of its `matrix`."""
    matrix = tensors.matrix
    rows, columns = matrix.shape[-2:]
    values = np.sort(host(singular_values(plain)).astype(np.float64), axis=None)[::-1]
    left = right = None
    folded = np.full(FOLDED, np.nan, np.float32)
    if matrix.shape[0] == 1:
        left, right, strength = _folded_directions(matrix[0], plain[0], tensors.fold())
        folded[: len(strength)] = strength[:FOLDED]
    return Spectrum(
        leading=_padded(values[:LEADING], LEADING),
        grid=np.quantile(values, QUANTILES).astype(np.float32),
        folded=folded,
        powers=_powers(values),
        sides=np.array([min(rows, columns), max(rows, columns)], np.int32),
        left=left,
        right=right,
    )


def block(spectra: list[Spectrum]) -> Block:
    """Stack the layers' summaries into the block's arrays."""
    return {
        "leading": np.stack([s.leading for s in spectra]),
        "grid": np.stack([s.grid for s in spectra]),
        "folded": np.stack([s.folded for s in spectra]),
        "powers": np.stack([s.powers for s in spectra]),
        "sides": np.stack([s.sides for s in spectra]),
    }


def _folded_directions(
    matrix: AnyArray, plain: AnyArray, fold: AnyArray | None
) -> tuple[AnyArray, AnyArray, NDArray[np.float32]]:
    """Leading directions of diag(fold) @ matrix. A row-side Gram is rescaled; a column-side one is formed anew."""
    xp, (rows, columns) = namespace(matrix), matrix.shape
    if fold is None:
        scaled, side = matrix, plain
    else:
        scaled = matrix * xp.astype(fold, matrix.dtype)[:, None]
        factor = xp.astype(fold, plain.dtype)
        side = plain * factor[:, None] * factor if rows <= columns else gram(scaled)
    near, strength = leading_directions(side, DIRECTIONS)
    near = xp.astype(near, matrix.dtype)
    far = (scaled.mT if rows <= columns else scaled) @ near
    far = far / xp.clip(xp.linalg.vector_norm(far, axis=0), _TINY, None)
    left, right = (near, far) if rows <= columns else (far, near)
    return left, right, host(strength).astype(np.float32)


def _powers(values: NDArray[np.float64]) -> NDArray[np.float32]:
    squares = values**2
    total = squares.sum()
    share = squares[squares > 0] / total if total > 0 else np.ones(1)
    return np.array([values.sum(), total, (squares**2).sum(), -(share * np.log(share)).sum()], np.float32)


def _padded(values: NDArray[np.float64], length: int) -> NDArray[np.float32]:
    return np.pad(values, (0, length - len(values)), constant_values=np.nan).astype(np.float32)
