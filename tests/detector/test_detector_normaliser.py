"""Robust standardisation per architecture: the formula by hand, fallbacks, and what it may not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weightfeat.detector.normaliser import CLIP, MAD_TO_SIGMA, fit_normaliser, robust

A = ["a1"] * 5 + ["a2"] * 5
F = ["fa"] * 10


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_robust_centre_scale_and_count() -> None:
    centre, scale, count = robust(column(1, 2, 3, 4, 100, np.nan))
    assert (centre[0], scale[0], count[0]) == (3, MAD_TO_SIGMA, 5)
    # Half the values equal: the MAD is 0 and the mean deviation (4 / 6) takes over.
    assert robust(column(1, 1, 1, 1, 1, 5))[1][0] == pytest.approx(np.sqrt(np.pi / 2) * 4 / 6)
    assert np.isnan(robust(column(np.nan, np.nan))[0]).all()
    assert robust(np.empty((0, 2)))[2].tolist() == [0, 0]


def test_without_shrinkage_each_architecture_stands_alone() -> None:
    x = column(1, 2, 3, 4, 5, 100, 110, 120, 130, 140)
    z = fit_normaliser(x, A, F, 0.0).transform(x, A, F)
    np.testing.assert_allclose(z[:5], (x[:5] - 3) / MAD_TO_SIGMA)
    np.testing.assert_allclose(z[5:], (x[5:] - 120) / (10 * MAD_TO_SIGMA))


def test_the_formula_by_hand() -> None:
    x, k = column(1, 2, 3, 4, 5, 2, 4, 6, 8, 10), 5.0
    fitted = fit_normaliser(x, A, F, k)
    # One family, so family and pool are the same rows: 1 2 2 3 4 4 5 6 8 10, median 4, deviations 0 0 1 1 2 2 2 3 4 6.
    total = 2 * MAD_TO_SIGMA
    # Residuals from the own medians 3 and 6: absolute 0 0 1 1 2 2 2 2 4 4.
    within = 2 * MAD_TO_SIGMA
    own = 5 / (5 + k)
    scales = [own * s * MAD_TO_SIGMA + (1 - own) * within for s in (1, 2)]
    ratio = [min(1.0, (s / total) ** 2) for s in scales]
    centres = [5 / (5 + k * r) * c + (1 - 5 / (5 + k * r)) * 4 for r, c in zip(ratio, (3, 6), strict=True)]
    np.testing.assert_allclose(fitted.scale[:, 0], [*scales, total, total])
    np.testing.assert_allclose(fitted.centre[:, 0], [*centres, 4, 4])
    assert ratio[0] < 1 == ratio[1]


def test_an_unseen_architecture_falls_back_to_its_family_then_to_the_pool() -> None:
    rng = np.random.default_rng(0)
    family = ["fa"] * 10 + ["fb"] * 10
    architecture = A + ["b1"] * 10
    x = rng.normal(size=(20, 3)) + np.repeat([[0.0], [50.0]], 10, axis=0)
    fitted = fit_normaliser(x, architecture, family, 0.0)
    names, families = ["a1", "new", "new", "unknown"], ["fa", "fb", "other", "unknown"]
    assert fitted.levels(names, families).tolist() == [0, 1, 2, 2]
    z = fitted.transform(x[:1].repeat(4, axis=0), names, families)
    np.testing.assert_allclose(z[1], np.clip((x[0] - robust(x[10:])[0]) / robust(x[10:])[1], -CLIP, CLIP))
    np.testing.assert_allclose(z[2], (x[0] - robust(x)[0]) / robust(x)[1])
    np.testing.assert_array_equal(z[2], z[3])


def test_networks_of_unknown_architecture_are_no_population() -> None:
    x = np.arange(20.0)[:, None]
    fitted = fit_normaliser(x, ["unknown"] * 20, ["unknown"] * 20, 3.0)
    assert fitted.architectures == fitted.families == ()
    assert fitted.levels(["unknown"], ["unknown"]).tolist() == [2]


def test_missing_values_stay_missing_and_touch_nothing_else() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(10, 4))
    x[2, 1], x[:5, 2], x[:, 3] = np.nan, np.nan, np.nan
    fitted = fit_normaliser(x, A, F, 4.0)
    z = fitted.transform(x, A, F)
    np.testing.assert_array_equal(np.isnan(z), np.isnan(x))
    full = x[:, :1]
    np.testing.assert_array_equal(fit_normaliser(full, A, F, 4.0).transform(full, A, F), z[:, :1])
    # a1 never had column 2: its family speaks for it. Column 3 was never seen at all: nothing can be said.
    new = np.full((1, 4), 0.5)
    later = fitted.transform(new, ["a1"], ["fa"])
    assert np.isfinite(later[0, :3]).all()
    assert np.isnan(later[0, 3])


def test_constant_columns_say_nothing() -> None:
    x = np.column_stack([np.full(10, 0.1), np.repeat([1.0, 2.0], 5)])
    for k in (0.0, 5.0):
        fitted = fit_normaliser(x, A, F, k)
        z = fitted.transform(np.vstack([x, [[7.0, 7.0]]]), [*A, "a1"], [*F, "fa"])
        assert np.isfinite(z).all()
        assert (z[:, 0] == 0).all()


def test_heavy_tails_are_cut() -> None:
    x = np.array([[1.0], [2.0], [3.0], [4.0], [1e300], [-1e300]])
    z = fit_normaliser(x, ["a"] * 6, ["f"] * 6, 1.0).transform(x, ["a"] * 6, ["f"] * 6)
    assert np.abs(z).max() == CLIP


def test_more_shrinkage_moves_an_architecture_to_its_family() -> None:
    x = column(1, 2, 3, 4, 5, 2, 4, 6, 8, 10)
    centres = [fit_normaliser(x, A, F, k).centre[0, 0] for k in (0, 1, 10, 100, 1e9)]
    assert centres == sorted(centres)
    assert centres[0] == 3
    assert centres[-1] == pytest.approx(4, abs=1e-6)


def test_an_architecture_far_from_its_family_keeps_its_own_centre() -> None:
    x = np.concatenate([np.arange(5.0), 1e6 + np.arange(5.0)])[:, None]
    centre = fit_normaliser(x, A, F, 100.0).centre
    assert centre[0, 0] == pytest.approx(2, abs=1e-3)
    assert centre[1, 0] == pytest.approx(1e6 + 2, abs=1e-3)


@given(
    arrays(np.float64, (10, 3), elements=st.floats(-100, 100).map(lambda v: round(v, 2))),
    st.floats(0.01, 100),
    st.floats(-100, 100),
    st.floats(0, 50),
)
def test_units_do_not_matter(x: np.ndarray, factor: float, shift: float, k: float) -> None:
    places = (A, ["fa"] * 5 + ["fb"] * 5)
    plain = fit_normaliser(x, *places, k).transform(x, *places)
    other = shift + factor * x
    np.testing.assert_allclose(fit_normaliser(other, *places, k).transform(other, *places), plain, atol=1e-6)


@given(st.permutations(range(10)))
def test_order_does_not_matter(order: list[int]) -> None:
    x = np.random.default_rng(3).normal(size=(10, 2))
    names = np.array(A)
    one, two = fit_normaliser(x, A, F, 2.0), fit_normaliser(x[order], names[order].tolist(), F, 2.0)
    np.testing.assert_array_equal(one.centre, two.centre)
    np.testing.assert_allclose(one.scale, two.scale, rtol=1e-12)
