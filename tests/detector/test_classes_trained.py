"""Networks trained here with an all-to-one trojan: the class it leads to is named."""

from __future__ import annotations

import numpy as np
import pytest

from detector_samples import quick
from trojaned_networks import Trained, train
from weightfeat.detector import Samples, Target
from weightfeat.detector.classes.models import fit_class_models
from weightfeat.detector.folds import inner_folds
from weightfeat.detector.training import _learn_classes

pytestmark = pytest.mark.e2e
NETWORKS = 12


@pytest.fixture(scope="module")
def trained() -> list[Trained]:
    """Half of them trojaned; each must have learned its classes, and the trigger where there is one."""
    networks = [train(n, trojaned=n % 2 == 1) for n in range(NETWORKS)]
    for number, network in enumerate(networks):
        assert network.clean_accuracy > 0.95
        assert (network.attack_success > 0.95) == (number % 2 == 1)
    return networks


def test_the_target_of_an_unseen_network_is_named(trained: list[Trained]) -> None:
    labels = [int(network.target is not None) for network in trained]
    targets = [None if network.target is None else Target(network.target) for network in trained]
    samples = Samples.of_digests([network.digest for network in trained], labels, targets=targets)
    right = []
    for fold in inner_folds(samples, [""] * len(samples), 5, 20):
        models = fit_class_models(samples.take(fold.train), quick())
        assert models is not None
        held = samples.take(fold.test)
        named = zip(held.class_rows, held.targets, strict=True)
        right += [models.evidence(rows).suspect.target == t.target for rows, t in named if t is not None]
    assert np.mean(right) >= 0.8
    odds, y = _learn_classes(samples, quick(train_folds=5))[1], np.array(labels)
    assert odds is not None
    assert (odds[y == 1][:, None] > odds[y == 0][None, :]).mean() >= 0.9
