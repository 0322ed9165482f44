"""The range of a probability over the ensemble's members: each member taken the whole way, and nothing else moved."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detector_samples import RAW, Sample, quick, sample
from weightfeat.detector import Detector
from weightfeat.detector.forest import parse_forest
from weightfeat.detector.learned import MANY_BAGS, Learned, as_rows


def fit(**values: object) -> Detector:
    data = sample()
    return Detector(quick(**values), raw_columns=RAW).fit(data.X, data.y, **data.places)


def members(learned: Learned, data: Sample) -> np.ndarray:
    """Probabilities of detectors that hold one bag each, (rows, bags)."""
    forest = learned.classifier.forest
    texts = [part + "\nend of trees\n\n" for part in forest.text.split("\nend of trees\n\n") if part]
    assert len(texts) == forest.bags
    columns = []
    for text in texts:
        classifier = dataclasses.replace(learned.classifier, forest=parse_forest(text, forest.columns))
        alone = dataclasses.replace(learned, classifier=classifier)
        columns.append(alone.probability(as_rows(data.X, data.architecture, data.family)))
    return np.column_stack(columns)


@pytest.mark.parametrize(
    "values",
    [{}, {"infer_clip": 0.2}, {"infer_novelty_pull": 1.0}, {"train_calibration": "beta"}],
    ids=["shipped", "clipped", "pulled", "beta"],
)
def test_few_members_range_from_the_least_to_the_greatest(values: dict[str, object]) -> None:
    detector, new = fit(train_ensemble_size=3, **values), sample(40, seed=9)
    alone = members(detector.learned_, new)
    found = detector.interval(new.X, **new.places)
    np.testing.assert_allclose(found, np.column_stack([alone.min(axis=1), alone.max(axis=1)]), atol=1e-12)
    p = detector.predict_proba(new.X, **new.places)[:, 1]
    assert ((found[:, 0] <= p + 1e-12) & (p <= found[:, 1] + 1e-12)).all()
    assert (found[:, 1] > found[:, 0]).any()


def test_many_members_lose_their_tails() -> None:
    detector, new = fit(train_ensemble_size=MANY_BAGS, train_num_trees=8), sample(20, seed=9)
    alone = members(detector.learned_, new)
    found = detector.interval(new.X, **new.places)
    np.testing.assert_allclose(found, np.quantile(alone, (0.05, 0.95), axis=1).T, atol=1e-12)
    assert (found[:, 1] - found[:, 0] < alone.max(axis=1) - alone.min(axis=1)).any()


@pytest.mark.parametrize("values", [{"train_ensemble_size": 1}, {"train_logistic_weight": 1.0}])
def test_a_detector_without_an_ensemble_has_no_range(values: dict[str, object]) -> None:
    detector, new = fit(**values), sample(10, seed=9)
    p = detector.predict_proba(new.X, **new.places)[:, 1]
    np.testing.assert_allclose(detector.interval(new.X, **new.places), np.column_stack([p, p]), atol=1e-12)


def test_the_range_follows_the_values_of_inference() -> None:
    detector, new = fit(train_ensemble_size=3), sample(10, seed=9)
    other = detector.with_inference(detector.params.replace(infer_clip=0.4))
    assert other.interval(new.X, **new.places).min() >= 0.4
    assert detector.interval(new.X, **new.places).min() < 0.4


def test_what_silent_trees_would_have_said_is_in_the_range() -> None:
    """Of an architecture they know no network of, too, the range holds the probability and every member's."""
    detector, new = fit(train_ensemble_size=3), sample(40, seed=9)
    stranger = Sample(new.X, new.y, ["alexnet"] * 40, ["alexnet"] * 40)
    found = detector.interval(stranger.X, **stranger.places)
    heard = detector.with_inference(detector.params.replace(infer_unseen_trees=1.0))
    own = detector.predict_proba(stranger.X, **stranger.places)[:, 1]
    alone = members(heard._inference(), stranger)
    ends = np.column_stack([np.minimum(alone.min(axis=1), own), np.maximum(alone.max(axis=1), own)])
    np.testing.assert_allclose(found, ends, atol=1e-12)
    assert (found[:, 1] > found[:, 0]).all()
