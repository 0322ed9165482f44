"""Networks trained here with an all-to-one trojan: the class it leads to is named."""

from __future__ import annotations

import numpy as np
import pytest

from trojaned_networks import Trained, train
from weightfeat.classmodel import ClassEvidence, Target, class_rows

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
    evidence = ClassEvidence()
    rows = [class_rows(network.digest) for network in trained]
    found = evidence.fit_transform(rows, labels, targets)
    pairs = [(s, t) for s, t in zip(evidence.suspects_, targets, strict=True) if t is not None]
    assert np.mean([s is not None and s.target == t.target for s, t in pairs]) >= 0.8
    largest, y = found["classes.largest"].to_numpy(), np.array(labels)
    assert (largest[y == 1][:, None] > largest[y == 0][None, :]).mean() >= 0.9
