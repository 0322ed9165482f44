"""A judge saved and loaded: the same verdicts, and refusals where its parts do not belong together."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from container_round import QUICK
from labelled_samples import small_sample
from networks import plain_cnn
from weightfeat import classmodel, configure, features, metaparameters
from weightfeat.errors import BadLearnedParameters
from weightfeat.judge import Judge
from weightfeat.rounds.extraction import digest_file
from weightfeat.rounds.labelled import LabelledSet
from weightfeat.rounds.scanning import Verdict, analyse, judged

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def labelled() -> LabelledSet:
    return small_sample(12)


@pytest.fixture(scope="module")
def folder(labelled: LabelledSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    configure.learn(labelled, _params(), folder, log=lambda line: None)
    return folder


def _params(**change: object) -> metaparameters.Metaparameters:
    params = metaparameters.load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    return params.replace(**QUICK).replace(**change)


def _verdict(judge: Judge, labelled: LabelledSet, at: int = 3) -> Verdict:
    return judged(Path("m"), labelled.digests[at], judge, start=time.perf_counter())


def test_a_verdict_names_a_class_and_carries_every_column(labelled: LabelledSet, folder: Path) -> None:
    judge = Judge.load(folder)
    verdict = _verdict(judge, labelled)
    assert verdict.suspect is not None
    assert 0 <= verdict.suspect.target < verdict.num_classes
    assert set(classmodel.NAMES) < set(verdict.features)
    assert set(verdict.features) == set(judge.detector.feature_names_)


@pytest.mark.parametrize("blocks", [(), ("spectrum", "alignment"), ("channels", "moments")])
def test_a_scan_digests_what_its_verdict_is_made_from(
    labelled: LabelledSet, tmp_path: Path, blocks: tuple[str, ...]
) -> None:
    chosen = {f"train_block_{name}": name in ("head", *blocks) for name in features.BLOCKS}
    judge = configure.learn(labelled, _params(**chosen), tmp_path, log=lambda line: None)
    torch.save(plain_cnn().state_dict(), tmp_path / "model.pt")
    whole, _ = digest_file(tmp_path / "model.pt", device="cpu")
    said = judged(tmp_path / "model.pt", whole, judge, start=0.0)
    found = analyse(tmp_path / "model.pt", judge, device="cpu")
    assert judge.reads == {"head", "latents"} | features.reads(blocks)
    assert {name: str(value) for name, value in found.features.items()} == {
        name: str(value) for name, value in said.features.items()
    }
    same = {"seconds": 0.0, "features": {}}
    assert dataclasses.replace(found, **same) == dataclasses.replace(said, **same)


def test_the_interval_holds_the_probability_and_every_member_s(labelled: LabelledSet, folder: Path) -> None:
    judge = Judge.load(folder)
    assert judge.evidence is not None
    for at in range(4):
        digest = labelled.digests[at]
        (row, _, members), (low, high) = judge.row(digest), _verdict(judge, labelled, at).interval
        places = {"architecture": [digest.architecture], "family": [digest.family]}
        alone = judge.detector.interval(row, **places)[0]
        assert low <= alone[0] <= alone[1] <= high
        assert members == judge.evidence.member_odds(digest)
        for odds in members:
            p = judge.detector.predict_proba(row | {classmodel.ODDS: odds}, **places)[0, 1]
            assert low <= p <= high


def test_loaded_it_says_what_it_said(labelled: LabelledSet, tmp_path: Path) -> None:
    judge = configure.learn(labelled, _params(), tmp_path, log=lambda line: None)
    before, after = _verdict(judge, labelled), _verdict(Judge.load(tmp_path), labelled)
    assert (before.probability, before.suspect) == (after.probability, after.suspect)


def test_inference_values_change_without_learning(labelled: LabelledSet, folder: Path) -> None:
    judge = Judge.load(folder).with_inference(_params(infer_clip=0.3))
    assert 0.3 <= _verdict(judge, labelled).probability <= 0.7


def test_without_class_evidence_nobody_is_suspected(labelled: LabelledSet, tmp_path: Path) -> None:
    judge = configure.learn(labelled, _params(train_class_evidence=False), tmp_path, log=lambda line: None)
    assert judge.evidence is None
    verdict = _verdict(Judge.load(tmp_path), labelled)
    assert verdict.suspect is None
    assert not set(classmodel.NAMES) & set(verdict.features)


@pytest.mark.parametrize("damage", ["absent", "columns", "settings"])
def test_parts_that_do_not_belong_together_are_refused(damage: str, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    document = json.loads((tmp_path / "detector.json").read_text())
    if damage == "absent":
        document["attachment"] = None
    if damage == "columns":
        document["attachment"]["target"]["columns"].reverse()
    if damage == "settings":
        document["attachment"]["settings"] = {"folds": "many"}
    (tmp_path / "detector.json").write_text(json.dumps(document))
    with pytest.raises(BadLearnedParameters, match="class evidence") as caught:
        Judge.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_class_columns_of_training_networks_are_out_of_fold(labelled: LabelledSet, folder: Path) -> None:
    """Targets of a network's own must not shape its own columns: other targets, same columns for it."""
    evidence = classmodel.ClassEvidence(classmodel.ClassSettings.of(_params()))
    targets = list(classmodel.targets_of(labelled))
    known = (labelled.digests, labelled.labels)
    one = evidence.fit_transform(*known, targets, labelled.groups)
    moved = [*targets]
    assert targets[1] is not None
    moved[1] = classmodel.Target(
        targets[1].sources[0], (targets[1].target,)
    )  # source and target change places
    other = evidence.fit_transform(*known, moved, labelled.groups)
    np.testing.assert_array_equal(one.iloc[1], other.iloc[1])
    assert not np.array_equal(one.to_numpy(), other.to_numpy())
