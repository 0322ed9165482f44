"""Whether classes are tied in a circle: seen wherever they stand in it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from networks import network_of, plain_cnn
from weightfeat import digest
from weightfeat.features.cycles import CYCLE_COLUMNS, around, cycle_numbers


def _ring(count: int, random: np.random.Generator, strength: float) -> np.ndarray:
    ties = random.normal(size=(count, count))
    return ties + strength * np.roll(np.eye(count), 1, axis=1)


@pytest.mark.parametrize("count", [4, 5, 10, 43])
def test_without_a_circle_it_scatters_by_about_one_and_with_one_it_is_large(count: int) -> None:
    random = np.random.default_rng(0)
    plain = np.array([around(_ring(count, random, 0.0)) for _ in range(400)])
    assert abs(plain.mean()) < 0.2
    assert 0.7 < plain.std() < 1.3
    tied = np.array([around(_ring(count, random, 3.0)) for _ in range(100)])
    assert np.median(tied) > 1.2
    assert count < 10 or np.median(tied) > 3


def test_where_the_circle_begins_and_which_way_it_goes_plays_no_part() -> None:
    ties = _ring(9, np.random.default_rng(1), 2.0)
    turned = np.roll(ties, (4, 4), axis=(0, 1))
    assert around(turned) == pytest.approx(around(ties))
    assert around(ties.T) == pytest.approx(around(ties))
    assert around(5.0 * ties + 2.0) == pytest.approx(around(ties))
    assert around(ties + np.diag(np.full(9, np.nan))) == pytest.approx(around(ties))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_three_classes_all_are_neighbours(count: int) -> None:
    assert around(np.random.default_rng(0).normal(size=(count, count))) == 0.0


def test_a_head_whose_neighbours_speak_for_each_other_shows_it() -> None:
    torch.manual_seed(0)
    module = plain_cnn(10)
    last = [each for each in module.modules() if isinstance(each, torch.nn.Linear)][-1]
    before = cycle_numbers(digest.compute(network_of(module), key="c" * 64))
    with torch.no_grad():
        last.weight += 2.0 * last.weight.roll(1, dims=0)
    after = cycle_numbers(digest.compute(network_of(module), key="d" * 64))
    assert before.shape == (len(CYCLE_COLUMNS),)
    composed, second = (CYCLE_COLUMNS.index(f"cycle.{name}") for name in ("composed", "runner_up"))
    assert after[composed] > 2 > abs(before[composed])
    assert after[second] > before[second]
