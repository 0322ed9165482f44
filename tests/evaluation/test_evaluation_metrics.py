"""The scorer's figures against numbers worked out by hand, and what must hold of any intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weightfeat.evaluation import metrics
from weightfeat.evaluation.intervals import bootstrap, paired_bootstrap, weighted_auc

Y = np.array([0, 0, 1, 1])
P = np.array([0.1, 0.4, 0.35, 0.8])


@st.composite
def scored_models(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels with both classes, and probabilities on a coarse grid so that ties occur."""
    n = draw(st.integers(4, 30))
    labels = np.array([0, 1, *draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))])
    return labels, draw(hnp.arrays(np.int64, n, elements=st.integers(0, 20))) / 20


def test_cross_entropy_by_hand() -> None:
    losses = [-math.log(0.9), -math.log(0.6), -math.log(0.35), -math.log(0.8)]
    np.testing.assert_allclose(metrics.elementwise_cross_entropy(Y, P), losses)
    assert metrics.cross_entropy(Y, P) == pytest.approx(sum(losses) / 4)


@pytest.mark.parametrize(("level", "z"), [(90, 1.64), (95, 1.96), (98, 2.33), (99, 2.58)])
def test_interval_is_z_population_std_over_root_n(level: int, z: float) -> None:
    losses = metrics.elementwise_cross_entropy(Y, P)
    spread = math.sqrt(sum((loss - losses.mean()) ** 2 for loss in losses) / 4)
    assert metrics.cross_entropy_interval(Y, P, level) == pytest.approx(z * spread / 2)


def test_cross_entropy_is_clipped_and_brier_is_not() -> None:
    assert metrics.cross_entropy([1, 0], [0.0, 1.0]) == pytest.approx(-math.log(1e-12), rel=1e-4)
    assert metrics.cross_entropy([1, 0], [1.0, 0.0]) == pytest.approx(1e-12, rel=1e-3)
    assert metrics.brier([1, 0], [0.0, 1.0]) == 1.0
    assert metrics.brier(Y, P) == pytest.approx((0.01 + 0.16 + 0.4225 + 0.04) / 4)


def test_missing_result_counts_as_half() -> None:
    assert metrics.cross_entropy([1], [float("nan")]) == pytest.approx(math.log(2))


def test_confusion_table_by_hand() -> None:
    table = metrics.confusion_table(Y, P)
    assert list(table.columns) == ["Threshold", "TP", "FP", "FN", "TN", "TPR", "FPR"]
    assert len(table) == 101
    assert table.iloc[0].tolist() == [0, 2, 2, 0, 0, 1, 1]
    assert table.iloc[38].tolist() == [pytest.approx(0.38), 1, 1, 1, 1, 0.5, 0.5]
    assert table.iloc[100].tolist() == [pytest.approx(1), 0, 0, 2, 2, 0, 0]


def test_auc_rules_differ_where_a_percent_holds_both_labels() -> None:
    y, p = [0, 1], [0.501, 0.502]
    assert metrics.roc_auc(y, p) == 1.0
    assert metrics.roc_auc_scorer(y, p) == 0.5  # both are above 0.50 and below 0.51


def test_scorer_auc_loses_what_lies_beyond_its_last_threshold() -> None:
    # A clean model at exactly 1 is never below a threshold, so the scorer's curve does not reach (0, 0).
    y, p = [0, 0, 1, 1], [0.2, 1.0, 1.0, 1.0]
    assert metrics.roc_auc(y, p) == 0.75
    assert metrics.roc_auc_scorer(y, p) == 0.5


@pytest.mark.parametrize(
    ("p", "auc"), [([0.0, 0.0, 1.0, 1.0], 1), ([0.5] * 4, 0.5), ([1.0, 1.0, 0.0, 0.0], 0)]
)
def test_perfect_constant_and_anti_predictors(p: list[float], auc: float) -> None:
    assert metrics.roc_auc(Y, p) == auc
    assert metrics.roc_auc_scorer(Y, p) == auc
    assert metrics.brier(Y, p) == pytest.approx({1: 0, 0.5: 0.25, 0: 1}[auc])


def test_one_label_has_no_auc() -> None:
    assert math.isnan(metrics.roc_auc([1, 1], [0.3, 0.4]))
    assert math.isnan(metrics.roc_auc_scorer([1, 1], [0.3, 0.4]))
    assert math.isnan(bootstrap([1, 1], [0.3, 0.4], "roc_auc").low)
    assert metrics.confusion_table([1, 1], [0.3, 0.4])["FPR"].isna().all()


@settings(max_examples=40)
@given(scored_models())
def test_bootstrapped_auc_counts_pairs_as_scikit_learn_does(case: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = case
    once = weighted_auc(y, p[None, :], np.ones((1, y.size)))[0]
    assert once == pytest.approx(metrics.roc_auc(y, p))
    twice = weighted_auc(y, p[None, :], 1.0 + (np.arange(y.size) == 0)[None, :])[0]
    assert twice == pytest.approx(metrics.roc_auc(np.r_[y, y[0]], np.r_[p, p[0]]))


@settings(max_examples=40)
@given(scored_models())
def test_auc_of_the_opposite_is_the_rest(case: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = case
    assert metrics.roc_auc(y, p) + metrics.roc_auc(y, 1 - p) == pytest.approx(1)
    assert metrics.roc_auc(y, p) == pytest.approx(metrics.roc_auc(1 - y, 1 - p))


@settings(max_examples=40)
@given(scored_models())
def test_repeats_give_the_mean_of_their_figures(case: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = case
    both = np.stack([p, 1 - p])
    for figure in (metrics.cross_entropy, metrics.brier, metrics.roc_auc, metrics.roc_auc_scorer):
        assert figure(y, both) == pytest.approx((figure(y, p) + figure(y, 1 - p)) / 2)


def test_misfits_are_refused() -> None:
    for y, p in [([0, 1], [0.5]), ([0, 2], [0.5, 0.5]), ([], []), ([0, 1], [0.5, 1.5])]:
        with pytest.raises(ValueError, match=r"label|probabilities"):
            metrics.cross_entropy(y, p)


def test_calibration_error_of_calibrated_and_of_overconfident_scores() -> None:
    y = np.r_[np.zeros(30), np.ones(70)].astype(int)
    assert metrics.expected_calibration_error(y, np.full(100, 0.7)) == pytest.approx(0)
    assert metrics.expected_calibration_error(y, np.full(100, 1.0)) == pytest.approx(0.3)
    table = metrics.reliability_table(y, np.r_[np.full(30, 0.05), np.full(70, 1.0)])
    assert table[["low", "models", "trojaned"]].to_numpy().tolist() == [[0.0, 30, 0.0], [0.9, 70, 1.0]]


def _binormal(rng: np.random.Generator, n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(n) % 2
    return y, 1 / (1 + np.exp(-rng.normal(shift * (2 * y - 1), 1.0)))


def test_auc_and_cross_entropy_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(0)
    y, p = _binormal(rng, 200_000, 0.7)
    truth = {"roc_auc": metrics.roc_auc(y, p), "cross_entropy": metrics.cross_entropy(y, p)}
    hits = dict.fromkeys(truth, 0)
    for trial in range(200):
        y, p = _binormal(rng, 80, 0.7)
        for name, value in truth.items():
            found = bootstrap(y, p, name, draws=300, seed=trial)
            hits[name] += found.low <= value <= found.high
    # 95 % nominal; 200 trials and 80 models allow a few points either way.
    assert all(0.89 <= count / 200 <= 0.99 for count in hits.values()), hits


def test_paired_interval_is_narrower_than_that_of_either_and_covers() -> None:
    rng = np.random.default_rng(1)
    y, p = _binormal(rng, 300, 0.7)
    noisier = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + rng.normal(0, 0.3, y.size))))
    paired = paired_bootstrap(y, p, noisier, "roc_auc")
    alone = bootstrap(y, p, "roc_auc")
    assert paired.low <= paired.value <= paired.high
    assert paired.high - paired.low < (alone.high - alone.low) / 1.5
    assert paired.value == pytest.approx(metrics.roc_auc(y, p) - metrics.roc_auc(y, noisier))


@given(scored_models(), st.sampled_from(["roc_auc", "cross_entropy", "brier"]))
def test_a_detector_does_not_differ_from_itself(case: tuple[np.ndarray, np.ndarray], name: str) -> None:
    difference = paired_bootstrap(*case, case[1], name, draws=20)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_bootstrap_repeats_itself_and_keeps_the_label_counts() -> None:
    assert bootstrap(Y, P, "roc_auc") == bootstrap(Y, P, "roc_auc")
    lone = bootstrap([0, 1], [0.2, 0.7], "cross_entropy")  # one model a label: nothing can vary
    assert lone.low == lone.high == pytest.approx(lone.value)


def test_calibration_error_of_resamples_is_that_of_the_models_drawn() -> None:
    from weightfeat.evaluation.intervals import STATISTICS, bootstrap

    rng = np.random.default_rng(0)
    y, p = rng.integers(2, size=50), rng.random((3, 50))
    counts = np.vstack([np.ones(50), rng.multinomial(50, np.full(50, 0.02), size=4)])
    found = STATISTICS["calibration_error"](y, p, counts)
    for value, drawn in zip(found, counts.astype(int), strict=True):
        at = np.repeat(np.arange(50), drawn)
        assert value == pytest.approx(metrics.expected_calibration_error(y[at], p[:, at]))
    estimate = bootstrap(y, p, "calibration_error", draws=200)
    assert 0 < estimate.low < estimate.high < 1
