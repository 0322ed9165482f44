"""What is shown beside a verdict: taken from the digest, the same as what the verdict was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from container_round import small_network
from labelled_samples import small_sample
from report_samples import KIND, entries, evidence, verdict
from weightfeat.detector import Detector
from weightfeat.detector.kinds import Kind
from weightfeat.report import shown
from weightfeat.report.evidence import BLOCKS, rates
from weightfeat.report.evidence import evidence as made_of
from weightfeat.report.explain import explain
from weightfeat.rounds.extraction import digest_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return Detector.load(ROOT / "learned_parameters")


def test_more_of_a_digest_changes_no_verdict_and_the_loudest_class_is_the_suspect(
    shipped: Detector, tmp_path: Path
) -> None:
    torch.save(small_network(1, poisoned=True).state_dict(), tmp_path / "model.pt")
    lean, _ = digest_file(tmp_path / "model.pt", device="cpu", blocks=shipped.reads)
    whole, _ = digest_file(tmp_path / "model.pt", device="cpu", blocks=shipped.reads | BLOCKS)
    said = shipped.predict(lean)
    assert replace(shipped.predict(whole), features={}) == replace(said, features={})
    found = made_of(whole, shipped, said)
    # Weights that nothing trained are in doubt, and name no suspect.
    certain = shipped.predict(replace(lean, findings=())).suspect
    assert said.suspect is None
    assert certain is not None
    assert int(found.suspicion.argmax()) == certain.target
    assert len(found.suspicion) == said.num_classes
    assert [layer.name for layer in found.layers] == whole.blocks["layers"]["name"].tolist()


def test_of_a_known_population_the_classes_probabilities_are_the_class_model_s(shipped: Detector) -> None:
    samples = small_sample(12).samples
    own = Detector(shipped.params.replace(train_num_trees=5, train_ensemble_size=1, train_folds=2)).fit(
        samples
    )
    background = own.background(samples.networks[3].digest)
    said = own.predict(samples.networks[3].digest)
    assert background.known
    assert said.suspect is not None
    assert background.suspicion.max() == pytest.approx(said.suspect.probability)
    assert background.suspicion.sum() < 1
    assert len(background.kind.clean) == len(background.kind.trojaned) == 6


def test_a_random_layer_reaches_the_edge_and_one_with_a_planted_direction_passes_it(
    shipped: Detector, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 3), torch.nn.ReLU()),
        *(torch.nn.Conv2d(64, 64, 3, groups=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)),
        *(torch.nn.Flatten(), torch.nn.Linear(64, 5)),
    )
    with torch.no_grad():
        network[2].weight.normal_()
        network[4].weight.normal_()
        planted = torch.outer(torch.ones(64), torch.ones(32 * 9)).reshape(64, 32, 3, 3)
        torch.save(network.state_dict(), tmp_path / "random.pt")
        network[2].weight += planted
        torch.save(network.state_dict(), tmp_path / "planted.pt")
    found = {}
    for name in ("random", "planted"):
        digest, _ = digest_file(tmp_path / f"{name}.pt", device="cpu", blocks=shipped.reads | BLOCKS)
        layers = made_of(digest, shipped, shipped.predict(digest)).layers
        found[name] = {layer.name: layer for layer in layers}
    assert 0.85 < found["random"]["2"].leading[0] < 1.1
    assert 0.85 < found["random"]["4"].leading[0] < 1.15  # a grouped layer has the edge of its groups
    assert found["planted"]["2"].leading[0] > 3
    assert found["planted"]["2"].leading[1] < 1.1


def test_rates_judge_each_network_without_itself() -> None:
    found = rates(KIND)
    assert sum(found["clean"].values()) == 60
    assert sum(found["trojaned"].values()) == 40
    assert found["clean"]["trojaned"] <= 0.05 * 60
    assert found["clean"]["trojaned"] + found["clean"]["suspicious"] <= 0.2 * 60
    assert found["trojaned"]["trojaned"] > 20
    assert rates(Kind(np.zeros(3), 0.9, np.ones(1))) == {
        "clean": {"cannot tell": 3},
        "trojaned": {"cannot tell": 1},
    }


def test_the_suspected_pair_is_shown_however_quiet() -> None:
    said = verdict(num_classes=100)
    bars, others = shown.classes(evidence(100), said)
    assert {bar.index: bar.part for bar in bars if bar.part} == {2: "target", 4: "source"}
    assert len(bars) + others == 100
    assert bars[0].length == 1
    unnamed, _ = shown.classes(evidence(100), replace(said, probability=0.2))
    assert not any(bar.part for bar in unnamed)


def test_every_network_of_the_scale_is_in_one_column() -> None:
    columns = shown.scale(evidence())
    assert sum(column.clean for column in columns) == 60
    assert sum(column.trojaned for column in columns) == 40
    assert max(max(column.clean_height, column.trojaned_height) for column in columns) == 1


def test_an_explanation_is_printable_narrow_and_has_every_part() -> None:
    for entry in entries()[:5]:
        lines = explain(entry, "#").splitlines()
        assert all(line.isprintable() for line in lines)
        assert all(len(line) <= 100 for line in lines if str(entry.path)[:10] not in line)
        for title in (
            "Where it lies",
            "Classes",
            "Layers",
            "Findings",
            "Compared with",
            "What to do next",
            "Limits",
        ):
            assert title in lines
    first = explain(entries()[0], "#")
    assert "TROJANED: probability of a trojan 0.93" in first
    assert "suspected target" in first
    assert "WF-FOREIGN-CALL: os.system is called" in first
