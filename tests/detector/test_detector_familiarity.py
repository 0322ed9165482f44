"""A network of a known architecture that was trained otherwise is noticed; one trained alike is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from weightfeat.detector import Detector
from weightfeat.detector.familiarity import FEWEST, Familiarity, fit_familiarity
from weightfeat.digest import Digest
from weightfeat.features.training import TRAINING, training_numbers

ROOT = Path(__file__).parents[2]
COUNT = len(TRAINING)


def _home(random: np.random.Generator, count: int) -> np.ndarray:
    return np.linspace(-3, 3, COUNT) + 0.2 * random.normal(size=(count, COUNT))


@pytest.fixture
def known() -> Familiarity:
    random = np.random.default_rng(0)
    found = fit_familiarity(["a"] * 40 + ["b"] * 6, np.vstack([_home(random, 40), 10 + _home(random, 6)]))
    assert found is not None
    return found


def test_networks_of_the_same_recipe_are_familiar_and_of_another_are_not(known: Familiarity) -> None:
    random = np.random.default_rng(1)
    assert known.weight(["a"] * 200, _home(random, 200)).mean() < 0.02
    assert known.weight(["b"] * 200, 10 + _home(random, 200)).mean() < 0.1
    assert (known.weight(["a"] * 50, 1.5 + _home(random, 50)) == 1).all()
    assert (known.weight(["a"] * 50, 10 + _home(random, 50)) == 1).all()


def test_every_network_learned_from_is_familiar() -> None:
    random = np.random.default_rng(2)
    training = _home(random, 30) + random.standard_cauchy(size=(30, 1))  # some far out, as real ones are
    found = fit_familiarity(["a"] * 30, training)
    assert found is not None
    assert (found.weight(["a"] * 30, training) == 0).all()


def test_one_number_far_out_says_no_more_than_far_out(known: Familiarity) -> None:
    numbers = _home(np.random.default_rng(3), 1)
    numbers[0, 0] += 1e9
    assert known.distance(["a"], numbers)[0] < 4


def test_nothing_is_said_where_nothing_is_known(known: Familiarity) -> None:
    assert (known.weight(["c"], np.full((1, COUNT), 99.0)) == 0).all()
    assert (known.weight(["a"], np.full((1, COUNT), np.nan)) == 0).all()
    assert fit_familiarity(["a", "b"] * (FEWEST - 1), _home(np.random.default_rng(0), 2 * FEWEST - 2)) is None


def test_a_number_that_no_network_has_plays_no_part() -> None:
    training = _home(np.random.default_rng(4), 20)
    training[:, 5] = np.nan
    found = fit_familiarity(["a"] * 20, training)
    assert found is not None
    fresh = _home(np.random.default_rng(5), 1)
    assert found.distance(["a"], fresh) == pytest.approx(
        found.distance(["a"], np.where(np.isnan(training[:1]), 7, fresh))
    )


@pytest.fixture(scope="module")
def shipped() -> tuple[Detector, Digest]:
    from weightfeat.rounds.labelled import from_digests

    return Detector.load(ROOT / "learned_parameters"), from_digests(ROOT / "holdout").samples.networks[
        0
    ].digest


def test_the_shipped_detector_asks_the_general_model_about_a_recipe_it_does_not_know(
    shipped: tuple[Detector, Digest],
) -> None:
    detector, digest = shipped
    assert not detector.against(digest).foreign
    head = dict(digest.blocks["head"])
    head["bias"], head["row_norm"] = head["bias"] * 20, head["row_norm"] * np.float16(3)
    norms = {**digest.blocks["norms"], "grid": digest.blocks["norms"]["grid"] * np.float32(3)}
    moments = {**digest.blocks["moments"], "batches": digest.blocks["moments"]["batches"] * 100}
    other = replace(digest, blocks={**digest.blocks, "head": head, "norms": norms, "moments": moments})
    assert detector.against(other).foreign
    assert np.isfinite(training_numbers(other)).all()


def test_holdout_networks_are_all_of_the_known_recipe(shipped: tuple[Detector, Digest]) -> None:
    from weightfeat.rounds.labelled import from_digests

    networks = from_digests(ROOT / "holdout").samples.networks
    known = [not shipped[0].against(network.digest).foreign for network in networks]
    assert np.mean(known) >= 0.95
