"""The range of a probability over the ensemble's members: each member taken the whole way, and nothing else moved."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detector_samples import Sample, fit, inference, proba, sample
from weightfeat.detector import Detector
from weightfeat.detector.forest import Forest
from weightfeat.detector.learned import MANY_BAGS, Learned


def bag_alone(forest: Forest, bag: int) -> Forest:
    """The trees of one bag; what no root leads to is never reached."""
    kept = forest.bag == bag
    return dataclasses.replace(
        forest, bags=1, root=forest.root[kept], bag=np.zeros(int(kept.sum()), dtype=np.int64)
    )


def members(learned: Learned, data: Sample, odds: np.ndarray | None = None) -> np.ndarray:
    """Probabilities of detectors that hold one bag each, (rows, bags)."""
    forests = [bag_alone(learned.forest, bag) for bag in range(learned.forest.bags)]
    return np.column_stack(
        [dataclasses.replace(learned, forest=forest).probability(data.rows, odds) for forest in forests]
    )


def interval(detector: Detector, data: Sample) -> np.ndarray:
    return inference(detector).interval(data.rows)


@pytest.mark.parametrize(
    "values",
    [{}, {"infer_clip": 0.2}, {"infer_novelty_pull": 1.0}],
    ids=["shipped", "clipped", "pulled"],
)
def test_few_members_range_from_the_least_to_the_greatest(values: dict[str, object]) -> None:
    detector, new = fit(sample(), train_ensemble_size=3, **values), sample(40, seed=9)
    alone = members(inference(detector), new)
    found = interval(detector, new)
    np.testing.assert_allclose(found, np.column_stack([alone.min(axis=1), alone.max(axis=1)]), atol=1e-12)
    p = proba(detector, new)
    assert ((found[:, 0] <= p + 1e-12) & (p <= found[:, 1] + 1e-12)).all()
    assert (found[:, 1] > found[:, 0]).any()


def test_many_members_lose_their_tails() -> None:
    detector, new = fit(sample(), train_ensemble_size=MANY_BAGS, train_num_trees=8), sample(20, seed=9)
    alone = members(inference(detector), new)
    found = interval(detector, new)
    np.testing.assert_allclose(found, np.quantile(alone, (0.05, 0.95), axis=1).T, atol=1e-12)
    assert (found[:, 1] - found[:, 0] < alone.max(axis=1) - alone.min(axis=1)).any()


@pytest.mark.parametrize("values", [{"train_ensemble_size": 1}])
def test_a_detector_without_an_ensemble_has_no_range(values: dict[str, object]) -> None:
    detector, new = fit(sample(), **values), sample(10, seed=9)
    p = proba(detector, new)
    np.testing.assert_allclose(interval(detector, new), np.column_stack([p, p]), atol=1e-12)


def test_the_range_follows_the_values_of_inference() -> None:
    detector, new = fit(sample(), train_ensemble_size=3), sample(10, seed=9)
    other = detector.with_inference(detector.params.replace(infer_clip=0.4))
    assert interval(other, new).min() >= 0.4
    assert interval(detector, new).min() < 0.4


def test_what_silent_trees_would_have_said_is_in_the_range() -> None:
    """Of an architecture they know no network of, too, the range holds the probability and every member's."""
    learned, new = inference(fit(sample(), train_ensemble_size=3)), sample(40, seed=9)
    stranger = Sample(new.X, new.y, ["alexnet"] * 40, ["alexnet"] * 40)
    odds = np.linspace(-3, 3, 40)
    found, own = learned.interval(stranger.rows, [odds]), learned.probability(stranger.rows, odds)
    share, bags = (
        1 - learned.params.train_class_weight,
        learned.forest.raw_by_bag(learned._columns(stranger.rows)),
    )
    weight = learned.novelty(stranger.rows).weight
    alone = learned._probability(share * bags + (1 - share) * odds[:, None], weight[:, None])
    ends = np.column_stack([np.minimum(alone.min(axis=1), own), np.maximum(alone.max(axis=1), own)])
    np.testing.assert_allclose(found, ends, atol=1e-12)
    assert (found[:, 1] > found[:, 0]).all()


def test_members_of_the_class_models_widen_the_range_to_each_of_their_own() -> None:
    learned, new = inference(fit(sample(), train_ensemble_size=3)), sample(20, seed=9)
    every = [np.full(20, value) for value in (0.5, -1.0, 2.0)]
    found = learned.interval(new.rows, every)
    for odds in every:
        alone = members(learned, new, odds)
        assert (found[:, 0] <= alone.min(axis=1) + 1e-12).all()
        assert (alone.max(axis=1) <= found[:, 1] + 1e-12).all()
