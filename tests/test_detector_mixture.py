"""Trees and logistic side by side: a mixture of their odds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detector_samples import quick
from weightfeat.detector.classifier import Classifier, fit_classifier
from weightfeat.detector.linear import Linear

WEIGHT = 0.7
MARKS = np.array([True, False, False])  # the logistic reads the first column, the trees the other two


@pytest.fixture(scope="module")
def learned() -> tuple[Classifier, NDArray[np.float64]]:
    """Trojans of two kinds: some show in the first column, some in the second; the third says nothing."""
    generator = np.random.default_rng(0)
    y = (np.arange(300) % 2).astype(np.int64)
    kind = generator.integers(0, 2, 300)
    x = generator.standard_normal((300, 3))
    x[(y == 1) & (kind == 0), 0] += 4
    x[(y == 1) & (kind == 1), 1] += 4
    params = quick(train_logistic_weight=WEIGHT, train_num_trees=60)
    return fit_classifier(x, y, params, logistic=MARKS, trees=~MARKS), x


def _linear(learned: Classifier) -> Linear:
    assert learned.linear is not None
    return learned.linear


def test_odds_are_the_sides_odds_by_their_shares(learned: tuple[Classifier, NDArray[np.float64]]) -> None:
    classifier, x = learned
    trees, logistic = classifier.forest.raw(x), _linear(classifier).raw(x)
    odds = (1 - WEIGHT) * np.exp(trees) + WEIGHT * np.exp(logistic)
    np.testing.assert_allclose(classifier.logit(x), np.log(odds))
    half = (1 - WEIGHT) / 2
    np.testing.assert_allclose(
        classifier.logit(x, 0.5), np.log(half * np.exp(trees) + (1 - half) * np.exp(logistic))
    )
    np.testing.assert_array_equal(classifier.logit(x, 0.0), logistic)


def test_either_side_may_speak_alone(learned: tuple[Classifier, NDArray[np.float64]]) -> None:
    classifier = learned[0]
    neither, first, second = np.zeros(3), np.array([4.0, 0.0, 0.0]), np.array([0.0, 4.0, 0.0])
    low, one, other = classifier.logit(np.stack([neither, first, second]))
    assert low < 0 < min(one, other)
    loud = classifier.logit(np.array([[-30.0, 4.0, 0.0], [4.0, -30.0, 0.0]]))
    assert (loud > 0).all()  # what one side says, no doubt of the other's takes back


@pytest.mark.parametrize("heard", [0.0, 0.3, 1.0])
def test_contributions_sum_to_the_logit_and_a_constant(
    learned: tuple[Classifier, NDArray[np.float64]], heard: float
) -> None:
    classifier, x = learned
    rest = [
        classifier.logit(row[None], heard)[0] - classifier.contributions(row, heard).sum() for row in x[:20]
    ]
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)
    assert (classifier.contributions(x[0], 0.0)[~MARKS] == 0).all()


def test_a_lone_side_is_itself() -> None:
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal((60, 2)), (np.arange(60) % 2).astype(np.int64)
    trees = fit_classifier(x, y, quick(train_logistic_weight=0.0))
    np.testing.assert_array_equal(trees.logit(x), trees.forest.raw(x))
    logistic = fit_classifier(x, y, quick(train_logistic_weight=1.0))
    np.testing.assert_array_equal(logistic.logit(x), _linear(logistic).raw(x))
    assert np.isfinite(logistic.contributions(x[0])).all()
