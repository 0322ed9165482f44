"""Calibration mends overconfidence, never turns the order round, and its folds keep groups whole."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector_samples import cross_entropy
from weightfeat.detector.calibration import Calibration, fit_calibration, sigmoid
from weightfeat.detector.folds import assign_folds


def draw(rows: int, seed: int, slope: float = 4.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits `slope` times too steep and `shift` too high, and their labels."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.2, rows)
    return slope * truth + shift, (rng.random(rows) < sigmoid(truth)).astype(np.int64)


def test_overconfident_scores_become_better() -> None:
    fitted = fit_calibration(*draw(300, 0))
    logit, y = draw(2000, 1)
    before, after = cross_entropy(y, sigmoid(logit)), cross_entropy(y, sigmoid(fitted.logit(logit)))
    assert after < before - 0.2
    assert after < cross_entropy(y, sigmoid(logit / 4)) + 0.01  # close to the true law


def test_a_shift_is_mended_too() -> None:
    fitted = fit_calibration(*draw(300, 0, 1.0, 2.0))
    logit, y = draw(2000, 1, 1.0, 2.0)
    assert cross_entropy(y, sigmoid(fitted.logit(logit))) < cross_entropy(y, sigmoid(logit)) - 0.1


@pytest.mark.parametrize("sign", [1, -1])
def test_separable_reversed_and_few_rows_stay_sane(sign: int) -> None:
    y = np.array([0, 0, 0, 1, 1, 1])
    fitted = fit_calibration(sign * np.array([-900.0, -3, -2, 2, 3, 900.0]), y)
    grid = fitted.logit(np.linspace(-1000, 1000, 101))
    assert np.isfinite(grid).all()
    assert (np.diff(grid) >= 0).all()  # never turned round: at worst it says nothing


@given(st.floats(0, 5), st.floats(-5, 5), st.lists(st.floats(-50, 50), min_size=2, max_size=20))
def test_order_is_kept(slope: float, shift: float, logits: list[float]) -> None:
    out = Calibration(slope, shift).logit(np.sort(np.array(logits)))
    assert (np.diff(out) >= -1e-9).all()


def test_sigmoid_does_not_overflow() -> None:
    np.testing.assert_allclose(sigmoid(np.array([-1e4, 0.0, 1e4])), [0, 0.5, 1])


@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from("ab")), min_size=4, max_size=60),
    st.integers(2, 6),
    st.integers(0, 99),
)
def test_folds_are_balanced_and_every_training_part_has_both_classes(
    rows: list[tuple[int, str]], folds: int, seed: int
) -> None:
    y, strata = np.array([row[0] for row in rows]), [row[1] for row in rows]
    fold = assign_folds(y, strata, [str(i) for i in range(len(y))], folds, seed)
    few = min(Counter(y.tolist()).get(label, 0) for label in (0, 1))
    if few < 2:
        assert fold is None
        return
    assert fold is not None
    assert set(fold.tolist()) == set(range(min(folds, few)))
    for part in [*zip(y.tolist(), strata, strict=True)], [(label, "") for label in y.tolist()]:
        for kind in set(part):
            counts = np.bincount(fold[[p == kind for p in part]], minlength=fold.max() + 1)
            assert counts.max() - counts.min() <= 1
    for held in range(fold.max() + 1):
        assert set(y[fold != held].tolist()) == {0, 1}


@given(st.lists(st.integers(0, 9), min_size=10, max_size=60), st.integers(0, 99))
def test_groups_are_never_split(code: list[int], seed: int) -> None:
    y = np.array(code) % 2
    fold = assign_folds(y, ["a"] * len(y), [f"g{c}" for c in code], 4, seed)
    if fold is not None:
        assert all(len(set(fold[np.array(code) == c].tolist())) == 1 for c in set(code))


@given(st.integers(2, 30), st.integers(0, 6), st.integers(2, 6), st.integers(0, 99))
def test_pairs_of_both_labels_are_dealt_like_any_group(
    pairs: int, singles: int, folds: int, seed: int
) -> None:
    """Every label is in every group of a pair: what limits the folds is the number of pairs."""
    y = np.array([0, 1] * pairs + [0] * singles)
    names = [f"pair {i // 2}" for i in range(2 * pairs)] + [f"single {i}" for i in range(singles)]
    strata = ["", "a", "", "b"] * (pairs // 2) + ["", "a"] * (pairs % 2) + [""] * singles
    fold = assign_folds(y, strata, names, folds, seed)
    assert fold is not None
    assert set(fold.tolist()) == set(range(min(folds, pairs)))
    np.testing.assert_array_equal(fold[: 2 * pairs : 2], fold[1 : 2 * pairs : 2])
    for kind in ("a", "b"):
        counts = np.bincount(fold[[s == kind for s in strata]], minlength=fold.max() + 1)
        assert counts.max() - counts.min() <= 1


def test_the_seed_draws_other_folds() -> None:
    y, names = np.arange(40) % 2, [str(i) for i in range(40)]
    one, same, other = (assign_folds(y, ["a"] * 40, names, 4, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
