"""The likelihood of a whole network: its gradient, its odds, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightfeat.detector.classes.joint import (
    Example,
    Joint,
    _layout,
    _loss,
    fit_joint,
    log_odds,
    target_probabilities,
    with_squares,
)

SCORES = st.lists(st.floats(-20, 20), min_size=2, max_size=12).map(np.array)


@given(st.lists(SCORES, min_size=1, max_size=4), st.data())
def test_the_slope_is_the_losss_own(networks: list[np.ndarray], data: st.DataObject) -> None:
    examples = [
        Example(scores[:, None], (), tuple(data.draw(st.sets(st.integers(0, len(scores) - 1), max_size=3))))
        for scores in networks
    ]
    layout, scores = _layout(examples), np.concatenate(networks)
    _, slope = _loss(scores, layout)
    step = 1e-5
    for at in range(len(scores)):
        up, down = scores.copy(), scores.copy()
        up[at] += step
        down[at] -= step
        difference = _loss(up, layout)[0] - _loss(down, layout)[0]
        assert slope[at] == pytest.approx(difference / (2 * step), abs=1e-4)


@given(SCORES, st.data())
def test_the_loss_is_that_of_what_is_true(scores: np.ndarray, data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(scores) - 1))
    p = target_probabilities(scores)
    for targets, likelihood in (((target,), p[target]), ((), 1 - p.sum())):
        value, _ = _loss(scores, _layout([Example(scores[:, None], (), targets)]))
        assert np.exp(-value) == pytest.approx(likelihood, abs=1e-9)


@given(SCORES, st.data())
def test_a_network_of_several_targets_is_one_witness_for_the_mean_of_them(
    scores: np.ndarray, data: st.DataObject
) -> None:
    targets = tuple(data.draw(st.sets(st.integers(0, len(scores) - 1), min_size=1, max_size=4)))
    apart = [_loss(scores, _layout([Example(scores[:, None], (), (each,))])) for each in targets]
    value, slope = _loss(scores, _layout([Example(scores[:, None], (), targets)]))
    assert value == pytest.approx(np.mean([each for each, _ in apart]), abs=1e-9)
    np.testing.assert_allclose(slope, np.mean([each for _, each in apart], axis=0), atol=1e-12)
    assert _loss(scores, _layout([Example(scores[:, None], (), (*targets, *targets))]))[0] == value


@given(SCORES)
def test_probabilities_of_all_targets_are_the_odds(scores: np.ndarray) -> None:
    trojaned = target_probabilities(scores).sum()
    assert 0 <= trojaned <= 1
    assert trojaned == pytest.approx(1 / (1 + np.exp(-log_odds(scores))), abs=1e-12)


def test_scores_that_say_nothing_give_even_odds_whatever_the_number_of_classes() -> None:
    assert [log_odds(np.zeros(count)) for count in (2, 7, 25)] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)


def _networks(count: int, strength: float, seed: int, loud: tuple[int, int] = (0, 0)) -> list[Example]:
    """Noise, in one of two groups; the target's column `loud[group]` is raised."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        rows = rng.normal(size=(int(rng.integers(4, 20)), 6))
        group = int(rng.integers(2))
        target = int(rng.integers(len(rows))) if number % 2 else None
        if target is not None:
            rows[target, loud[group]] += strength
        examples.append(Example(rows, (group == 0, group == 1), () if target is None else (target,)))
    return examples


def _odds(model: Joint, examples: list[Example]) -> np.ndarray:
    return np.array([log_odds(model.scores(e.classes, e.groups)) for e in examples])


def _told_apart(model: Joint, examples: list[Example]) -> tuple[float, float]:
    """Share of targets named, and AUC of the odds."""
    named = [model.scores(e.classes, e.groups).argmax() in e.targets for e in examples if e.targets]
    odds = _odds(model, examples)
    trojaned = np.array([bool(e.targets) for e in examples])
    return float(np.mean(named)), float(np.mean(odds[trojaned][:, None] > odds[~trojaned][None, :]))


def test_targets_are_named_and_networks_told_apart_on_new_ones() -> None:
    model = fit_joint(_networks(80, 4.0, 0), c=10.0, own=(1.0, 1.0), squares=0.1)
    examples = _networks(200, 4.0, 1)
    named, auc = _told_apart(model, examples)
    assert named > 0.9
    assert auc > 0.9
    odds = _odds(model, examples)
    assert abs((1 / (1 + np.exp(-odds))).mean() - 0.5) < 0.1


def test_a_class_that_stands_out_far_may_be_more_suspect_than_in_proportion() -> None:
    """Targets are those that stand out by 2 and more, either way; of half as much nothing follows."""
    rng = np.random.default_rng(3)
    learned, new = [], []
    for networks in (learned, new):
        for at in range(400):
            classes = rng.uniform(-1, 1, size=(8, 1))
            classes[:2, 0] = [1.5, -1.5]
            if at % 2:
                classes[2, 0] = 3.0
            networks.append(Example(classes, (), (2,) if at % 2 else ()))
    straight, bent = (
        np.mean(np.logaddexp(0, np.where(np.arange(400) % 2, -1, 1) * _odds(model, new)))
        for model in (fit_joint(learned, c=3.0, own=(), squares=part) for part in (0.0, 1.0))
    )
    assert bent < 0.8 * straight


def test_a_statistic_may_speak_differently_in_different_groups() -> None:
    learned, new = _networks(120, 3.0, 5, loud=(0, 1)), _networks(200, 3.0, 6, loud=(0, 1))
    apart = fit_joint(learned, c=3.0, own=(12.0, 12.0), squares=0.1)
    together = fit_joint(learned, c=3.0, own=(1e-6, 1e-6), squares=0.1)
    assert _told_apart(apart, new)[0] > _told_apart(together, new)[0] + 0.05
    assert np.abs(together.own).max() < 1e-4


def test_a_group_not_learned_from_is_read_by_what_is_shared() -> None:
    second = [e for e in _networks(120, 4.0, 7) if e.groups[1]]
    model = fit_joint(second, c=3.0, own=(12.0, 12.0), squares=0.1)
    assert not model.own[0].any()
    assert _told_apart(model, [e for e in _networks(200, 4.0, 8) if e.groups[0]])[0] > 0.8


def test_a_network_is_read_by_the_parts_of_all_its_groups() -> None:
    """What a group of the second kind adds, its networks have beside what the first kind's adds, and no other has."""
    rng = np.random.default_rng(0)
    examples = [
        Example(e.classes, (*e.groups, bool(rng.integers(2))), e.targets) for e in _networks(60, 3.0, 9)
    ]
    model = fit_joint(examples, c=3.0, own=(12.0, 12.0, 1.0), squares=0.1)
    rows = rng.normal(size=(6, examples[0].classes.shape[1]))
    with_third, without = (model.scores(rows, (False, True, third)) for third in (True, False))
    added = ((with_squares(rows) - model.centre) / model.scale) @ model.own[2]
    np.testing.assert_allclose(with_third - without, added, atol=1e-12)
    assert np.abs(added).max() > 0.1


def test_the_order_of_the_networks_plays_no_part() -> None:
    examples = _networks(40, 3.0, 10)
    first, second = (
        fit_joint(some, c=3.0, own=(12.0, 1.0), squares=0.1) for some in (examples, examples[::-1])
    )
    np.testing.assert_allclose(first.shared, second.shared, atol=1e-4)
    np.testing.assert_allclose(first.own, second.own, atol=1e-4)


def test_without_signal_it_stays_near_even_odds() -> None:
    model = fit_joint(_networks(80, 0.0, 2), c=0.3, own=(0.3, 0.3), squares=0.1)
    assert np.abs(_odds(model, _networks(50, 0.0, 3))).max() < 1.5


def test_a_column_that_says_nothing_has_no_weight() -> None:
    flat = [
        Example(np.hstack([e.classes, np.ones((len(e.classes), 1))]), e.groups, e.targets)
        for e in _networks(20, 3.0, 4)
    ]
    model = fit_joint(flat, c=3.0, own=(3.0, 3.0), squares=0.1)
    last = flat[0].classes.shape[1] - 1
    assert not model.shared[[last, -1]].any()
    assert not model.own[:, [last, -1]].any()
    assert np.isfinite(model.shared).all()
