"""Eigenvalues by way of a band: LAPACK's, whatever the matrix; other threads go on meanwhile."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from weightfeat.digest import band
from weightfeat.digest.lapack import band_eigenvalues

SIDES = (1, 2, 40, band.WIDTH, band.WIDTH + 1, 2 * band.WIDTH, 2 * band.WIDTH + 1, 190, 600, 1100)
ERROR = {np.float32: 2e-5, np.float64: 1e-13}  # of the largest: half of it in the singular values


def _samples(side: int) -> dict[str, NDArray[np.float64]]:
    generator = np.random.default_rng(side)
    rows = generator.standard_normal((side, side + 3))
    return {
        "random": rows @ rows.T,
        "one large value": rows @ rows.T + 1e4 * np.outer(rows[:, 0], rows[:, 0]),
        "zero": np.zeros((side, side)),
        "diagonal": np.diag(np.arange(side, dtype=np.float64)),
        "rank one": np.ones((side, side)),
        "indefinite": rows[:, :side] + rows[:, :side].T,
    }


@pytest.mark.parametrize("dtype", sorted(ERROR, key=str))
@pytest.mark.parametrize("side", SIDES)
def test_eigenvalues_are_numpys(side: int, dtype: type) -> None:
    for name, sample in _samples(side).items():
        matrix = sample.astype(dtype)
        untouched = matrix.copy()
        found, exact = band.eigenvalues(matrix), np.linalg.eigvalsh(matrix.astype(np.float64))
        assert found.dtype == dtype
        assert np.array_equal(matrix, untouched)
        assert np.abs(found - exact).max() <= ERROR[dtype] * np.abs(exact).max(), name


def test_the_blocks_size_changes_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = _samples(600)["random"]
    whole = band.eigenvalues(matrix)
    monkeypatch.setattr(band, "_ROWS", band.WIDTH)
    np.testing.assert_allclose(band.eigenvalues(matrix), whole, atol=1e-13 * whole[-1])


def test_it_is_more_exact_than_one_stage_in_single_precision() -> None:
    from scipy.linalg import eigvalsh

    matrix = _samples(1100)["random"].astype(np.float32)
    exact = np.linalg.eigvalsh(matrix.astype(np.float64))
    ours, lapacks = (np.abs(found - exact).max() for found in (band.eigenvalues(matrix), eigvalsh(matrix)))
    assert ours < lapacks / 4


def test_a_band_is_what_scipy_takes_it_for() -> None:
    from scipy.linalg import eigvals_banded

    rows = np.random.default_rng(0).standard_normal((5, 300))
    assert np.array_equal(band_eigenvalues(rows), eigvals_banded(rows, lower=True))


def test_other_threads_go_on_meanwhile() -> None:
    """With the interpreter's lock held, this thread would stand still from beginning to end."""
    rows = np.random.default_rng(0).standard_normal((band.WIDTH + 1, 1500))
    band_eigenvalues(rows[:, :100])
    worker = threading.Thread(target=band_eigenvalues, args=(rows,))
    turns = 0
    worker.start()
    while worker.is_alive():
        time.sleep(0.001)
        turns += 1
    assert turns > 3
