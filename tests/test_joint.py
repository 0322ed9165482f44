"""The likelihood of a whole network: its gradient, its odds, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightfeat.classmodel.joint import _network_loss, fit_joint, log_odds, target_probabilities

SCORES = st.lists(st.floats(-20, 20), min_size=2, max_size=12).map(np.array)


@given(SCORES, st.floats(0, 5), st.booleans(), st.data())
def test_the_slope_is_the_losss_own(
    scores: np.ndarray, naming: float, clean: bool, data: st.DataObject
) -> None:
    target = None if clean else data.draw(st.integers(0, len(scores) - 1))
    _, slope = _network_loss(scores, target, naming)
    step = 1e-5
    for at in range(len(scores)):
        up, down = scores.copy(), scores.copy()
        up[at] += step
        down[at] -= step
        difference = _network_loss(up, target, naming)[0] - _network_loss(down, target, naming)[0]
        assert slope[at] == pytest.approx(difference / (2 * step), abs=1e-4)


@given(SCORES)
def test_probabilities_of_all_targets_are_the_odds(scores: np.ndarray) -> None:
    trojaned = target_probabilities(scores).sum()
    assert 0 <= trojaned <= 1
    assert trojaned == pytest.approx(1 / (1 + np.exp(-log_odds(scores))), abs=1e-12)


def test_scores_that_say_nothing_give_even_odds_whatever_the_number_of_classes() -> None:
    assert [log_odds(np.zeros(count)) for count in (2, 7, 25)] == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)


def _networks(count: int, strength: float, seed: int) -> tuple[list[np.ndarray], list[int | None]]:
    rng = np.random.default_rng(seed)
    rows, targets = [], []
    for number in range(count):
        rows.append(rng.normal(size=(int(rng.integers(4, 20)), 6)))
        target = int(rng.integers(len(rows[-1]))) if number % 2 else None
        if target is not None:
            rows[-1][target, 0] += strength
        targets.append(target)
    return rows, targets


def test_targets_are_named_and_networks_told_apart_on_new_ones() -> None:
    model = fit_joint(*_networks(80, 4.0, 0), c=10.0, naming=1.0)
    rows, targets = _networks(200, 4.0, 1)
    scores = [model.raw(part) for part in rows]
    named = [s.argmax() == t for s, t in zip(scores, targets, strict=True) if t is not None]
    assert np.mean(named) > 0.9
    odds, trojaned = np.array([log_odds(s) for s in scores]), np.array([t is not None for t in targets])
    assert np.mean(odds[trojaned][:, None] > odds[~trojaned][None, :]) > 0.9
    p = 1 / (1 + np.exp(-odds))
    assert abs(p.mean() - trojaned.mean()) < 0.1


def test_without_signal_it_stays_near_even_odds() -> None:
    model = fit_joint(*_networks(80, 0.0, 2), c=1.0, naming=1.0)
    odds = [log_odds(model.raw(part)) for part in _networks(50, 0.0, 3)[0]]
    assert np.abs(odds).max() < 1.5


def test_a_column_that_says_nothing_has_no_weight() -> None:
    rows, targets = _networks(20, 3.0, 4)
    flat = [np.hstack([part, np.ones((len(part), 1))]) for part in rows]
    model = fit_joint(flat, targets, c=3.0, naming=1.0)
    assert model.coefficient[-1] == 0
    assert np.isfinite(model.coefficient).all()
