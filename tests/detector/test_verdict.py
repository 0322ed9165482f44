"""A detector of digests saved and loaded: the same verdicts, and refusals where its parts do not belong together."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from container_round import QUICK
from labelled_samples import small_sample
from networks import plain_cnn
from weightfeat import features, metaparameters
from weightfeat.detector import Detector, Samples, Target, Verdict
from weightfeat.detector.general.model import GENERAL
from weightfeat.detector.learned import ODDS
from weightfeat.detector.samples import Network
from weightfeat.detector.training import _learn_classes
from weightfeat.errors import BadLearnedParameters
from weightfeat.learning import configure
from weightfeat.rounds.extraction import digest_file
from weightfeat.rounds.scanning import analyse

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def samples() -> Samples:
    return small_sample(12).samples


@pytest.fixture(scope="module")
def folder(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    configure.learn(samples, _params(), folder)
    return folder


def _params(**change: object) -> metaparameters.Metaparameters:
    params = metaparameters.load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    return params.replace(**QUICK).replace(**change)


def _verdict(detector: Detector, samples: Samples, at: int = 3) -> Verdict:
    return detector.predict(samples.networks[at].digest)


def test_a_verdict_names_a_class_and_carries_every_column(samples: Samples, folder: Path) -> None:
    detector = Detector.load(folder)
    verdict = _verdict(detector, samples)
    assert verdict.suspect is not None
    assert 0 <= verdict.suspect.target < verdict.num_classes
    assert set(verdict.features) == {*detector.learned_.feature_names, ODDS, GENERAL}


def test_a_verdict_is_what_is_said_of_samples(samples: Samples, folder: Path) -> None:
    detector = Detector.load(folder)
    together = detector.predict_proba(samples)[:, 1]
    assert [_verdict(detector, samples, at).probability for at in range(12)] == together.tolist()


@pytest.mark.parametrize("blocks", [(), ("layers",), ("data",)])
def test_a_scan_digests_what_its_verdict_is_made_from(
    samples: Samples, tmp_path: Path, blocks: tuple[str, ...]
) -> None:
    names = [name for name in metaparameters.Metaparameters.names() if name.startswith("train_block_")]
    chosen = {name: name.removeprefix("train_block_") in ("head", *blocks) for name in names}
    detector = configure.learn(samples, _params(**chosen), tmp_path)
    torch.save(plain_cnn().state_dict(), tmp_path / "model.pt")
    whole, _ = digest_file(tmp_path / "model.pt", device="cpu")
    expected = detector.predict(whole)
    found = analyse(tmp_path / "model.pt", detector, device="cpu")
    general = {"head", "latents", "places", "norms", "moments"}
    assert detector.reads == general | features.reads(detector.params.blocks)
    assert {name: str(value) for name, value in found.features.items()} == {
        name: str(value) for name, value in expected.features.items()
    }
    same = {"seconds": 0.0, "features": {}, "path": None}
    assert dataclasses.replace(found, **same) == dataclasses.replace(expected, **same)


def test_the_interval_holds_the_probability_and_every_member_s(samples: Samples, folder: Path) -> None:
    detector = Detector.load(folder)
    learned = detector.learned_
    assert learned.classes is not None
    for at in range(4):
        verdict, network = _verdict(detector, samples, at), samples.networks[at]
        low, high = verdict.interval
        assert low <= verdict.probability <= high
        evidence = learned.classes.evidence(network.class_rows)
        assert evidence.member_odds
        rows = samples.take(np.array([at])).rows(learned.params.blocks)
        for odds in (evidence.odds, *evidence.member_odds):
            assert low <= learned.probability(rows, np.array([odds]))[0] <= high


def test_loaded_it_says_what_it_said(samples: Samples, tmp_path: Path) -> None:
    detector = configure.learn(samples, _params(), tmp_path)
    before, after = _verdict(detector, samples), _verdict(Detector.load(tmp_path), samples)
    assert {n: str(v) for n, v in before.features.items()} == {n: str(v) for n, v in after.features.items()}
    assert dataclasses.replace(before, features={}) == dataclasses.replace(after, features={})


def test_inference_values_change_without_learning(samples: Samples, folder: Path) -> None:
    detector = Detector.load(folder).with_inference(_params(infer_clip=0.3))
    assert 0.3 <= _verdict(detector, samples).probability <= 0.7


def test_without_class_evidence_nobody_is_suspected(samples: Samples, tmp_path: Path) -> None:
    params = _params(train_class_evidence=False)
    detector = configure.learn(samples, params, tmp_path)
    assert detector.learned_.classes is None
    verdict = _verdict(Detector.load(tmp_path), samples)
    assert verdict.suspect is None
    assert ODDS not in verdict.features


@pytest.mark.parametrize("damage", ["switched off", "columns", "setting"])
def test_parts_that_do_not_belong_together_are_refused(damage: str, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    document = json.loads((tmp_path / "detector.json").read_text())
    if damage == "switched off":
        document["metaparameters"]["train_class_evidence"] = False
    if damage == "columns":
        document["classes"]["target_columns"].reverse()
    if damage == "setting":
        document["metaparameters"]["train_class_scale_classes"] = 1e300
    (tmp_path / "detector.json").write_text(json.dumps(document))
    with pytest.raises(BadLearnedParameters, match=r"class evidence|train_class_scale_classes") as caught:
        Detector.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_samples_of_a_table_are_refused_where_classes_were_learned_from(
    samples: Samples, folder: Path
) -> None:
    table = samples.with_table(["a"], np.zeros((12, 1)))
    with pytest.raises(ValueError, match="digests are needed"):
        Detector.load(folder).predict_proba(table)


def test_odds_of_training_networks_are_out_of_fold(samples: Samples) -> None:
    """Targets of a network's own must not shape its own odds: other targets, same odds for it."""
    one = _learn_classes(samples, _params())[1]
    target = samples.targets[1]
    assert target is not None
    moved = Target(target.sources[0], (target.target,))  # source and target change places
    targets = (samples.targets[0], moved, *samples.targets[2:])
    other = _learn_classes(dataclasses.replace(samples, targets=targets), _params())[1]
    assert one is not None
    assert other is not None
    assert one[1] == other[1]
    assert not np.array_equal(one, other)


def test_a_network_is_computed_once(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(samples.networks[0].digest)
    before = network.features(("head", "norms"))
    assert network.features(("norms", "head")) == before  # in the registry's order, whatever was asked
    monkeypatch.setattr(features, "row", None)
    assert network.features(("head", "norms")) == before
    assert network.class_rows is network.class_rows
