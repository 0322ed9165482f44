"""Eigenvalues of a large symmetric matrix in two stages, so that most of the work is products of matrices.

Reducing a matrix to tridiagonal form at once, as LAPACK's `syevr` does, spends half of its operations on products with
one vector, each of which fetches the whole matrix. Reduced to a band first, the matrix is fetched once for `WIDTH`
columns (Bischof, Lang, Sun: A framework for symmetric band reduction, ACM TOMS 26, 2000, section 3); LAPACK's solver
for bands does the rest, in double precision, which costs it nothing: in single precision its QR iterations lose a
hundred times what the reduction loses. At VGG's side of 4096 both stages take two thirds of `syevr`'s time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.lapack import band_eigenvalues

WIDTH = 64
# Rows of the matrix at a time, a multiple of WIDTH: what is taken from them stays in a processor's cache.
_ROWS = 512
Matrix = NDArray[Any]


def eigenvalues(symmetric: Matrix) -> Matrix:
    """Ascending eigenvalues (k,) of a symmetric matrix (k, k), in its precision. Blocks on its diagonal are read whole,
    others only below it."""
    a = symmetric.copy()
    side = len(a)
    for start in range(0, side - WIDTH - 1, WIDTH):
        edge = start + WIDTH
        basis, triangle, reduced = _reflections(a[edge:, start:edge])
        a[edge:, start:edge] = 0
        a[edge : edge + len(reduced), start:edge] = reduced
        _reflect(a, edge, basis, triangle)
    band = np.zeros((min(WIDTH + 1, side), side))
    for offset, row in enumerate(band):
        row[: side - offset] = np.diagonal(a, -offset)
    return band_eigenvalues(band).astype(a.dtype)


def _reflections(panel: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """V (m, r), T (r, r) and R (r, w), r = min(m, w), of a panel (m, w): (I - V T V^T)^T panel is R above zeros.

    T's inverse is the upper triangle of V^T V with 1 / tau on the diagonal (Joffrain et al.: Accumulating Householder
    transformations, revisited, ACM TOMS 32, 2006, theorem 2).
    """
    from scipy.linalg import lapack

    factorise = lapack.sgeqrf if panel.dtype == np.float32 else lapack.dgeqrf
    packed, tau = factorise(panel)[:2]
    rank = len(tau)
    basis = np.tril(packed[:, :rank], -1)
    np.fill_diagonal(basis, 1)
    basis[:, tau == 0] = 0  # LAPACK's way to say: no reflection
    inverse = np.triu(basis.T @ basis, 1)
    np.fill_diagonal(inverse, 1 / np.where(tau == 0, 1, tau))
    return basis, np.linalg.inv(inverse), np.triu(packed[:rank])


def _reflect(a: Matrix, edge: int, basis: Matrix, triangle: Matrix) -> None:
    """Q^T A Q in place of A = a[edge:, edge:], Q = I - V T V^T.

    That is A - V W^T - W V^T, W = X - V T^T V^T X / 2, X = A V T (Dongarra, Sorensen, Hammarling 1989, section 4).
    Only A's blocks on and below the diagonal are read and written.
    """
    right = basis @ triangle
    product = np.zeros_like(basis)
    starts = range(edge // _ROWS * _ROWS, len(a), _ROWS)
    blocks = [slice(max(low, edge), low + _ROWS) for low in starts]  # of a's rows
    within = [slice(rows.start - edge, rows.stop - edge) for rows in blocks]  # the same of A's
    for rows, here in zip(blocks, within, strict=True):
        product[here] += a[rows, edge : rows.stop] @ right[: here.stop]
        product[: here.start] += a[rows, edge : rows.start].T @ right[here]
    product -= basis @ (0.5 * (triangle.T @ (basis.T @ product)))
    left, both = np.hstack([basis, product]), np.hstack([product, basis]).T.copy()
    for rows, here in zip(blocks, within, strict=True):
        a[rows, edge : rows.stop] -= left[here] @ both[:, : here.stop]
