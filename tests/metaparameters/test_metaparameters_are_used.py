"""Every metaparameter that the detector alone does not use changes what configure learns or how it searches."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from container_round import QUICK, write_parameters
from labelled_samples import small_sample
from weightfeat import features, metaparameters
from weightfeat.detector import Samples
from weightfeat.digest import Digest
from weightfeat.learning import configure, tuning
from weightfeat.metaparameters import Metaparameters

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = tuple(name for name in Metaparameters.names() if name.startswith("train_block_"))


@pytest.fixture(scope="module")
def samples() -> Samples:
    """Networks of two families whose norms saw different data for different lengths, so that every block, and every
    metaparameter, has something to tell."""
    sample = small_sample(16)
    trained = [_trained_for(digest, 50 + 7 * n) for n, digest in enumerate(sample.digests)]
    named = [
        dataclasses.replace(digest, family=("resnet", "vgg")[n // 2 % 2]) for n, digest in enumerate(trained)
    ]
    return dataclasses.replace(sample, digests=tuple(named)).samples


def _trained_for(digest: Digest, batches: int) -> Digest:
    moments = digest.blocks["moments"]
    seen = np.random.default_rng(batches).normal(size=moments["grid"].shape)
    data = {
        "batches": np.full_like(moments["batches"], batches),
        "grid": np.sort(moments["grid"] + np.abs(seen)),
    }
    return dataclasses.replace(digest, blocks={**digest.blocks, "moments": data})


@pytest.fixture(scope="module")
def quick() -> Metaparameters:
    params = metaparameters.load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    return params.replace(**QUICK, train_class_weight=0.5)


def _learned(samples: Samples, params: Metaparameters, folder: Path) -> np.ndarray:
    folder.mkdir()
    return configure.learn(samples, params, folder).predict_proba(samples)[:, 1]


def test_blocks_and_metaparameters_name_each_other() -> None:
    every = metaparameters.load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    assert sorted(every.replace(**dict.fromkeys(BLOCKS, True)).blocks) == sorted(features.BLOCKS)
    assert every.replace(**dict.fromkeys(BLOCKS, False)).blocks == ()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_switched_changes_what_is_learned(
    name: str, samples: Samples, quick: Metaparameters, tmp_path: Path
) -> None:
    # Given every column, trees may pass over a block's; given a few at random, they cannot.
    quick = quick.replace(train_class_evidence=False, train_num_trees=60, train_feature_fraction=0.02)
    switched = quick.replace(**{name: not getattr(quick, name)})
    assert set(features.names(switched.blocks)) != set(features.names(quick.blocks))
    before = _learned(samples, quick, tmp_path / "before")
    after = _learned(samples, switched, tmp_path / "after")
    assert not np.array_equal(before, after)


@pytest.mark.parametrize(
    "change",
    [
        {"train_class_evidence": False},
        {"train_class_c": 0.1},
        {"train_class_own_c": 0.1},
        {"train_class_family_c": 10.0},
        {"train_class_squares": 0.0},
        {"train_class_scale_classes": 3.0},
        {"train_class_weight": 0.9},
    ],
)
def test_class_evidence_changes_what_is_learned(
    change: dict[str, object], samples: Samples, quick: Metaparameters, tmp_path: Path
) -> None:
    before = _learned(samples, quick, tmp_path / "before")
    after = _learned(samples, quick.replace(**change), tmp_path / "after")
    assert not np.array_equal(before, after)


def test_trials_are_run(samples: Samples, tmp_path: Path) -> None:
    from weightfeat.evaluation.search import SearchPlan
    from weightfeat.evaluation.study import open_study

    folder = write_parameters(tmp_path / "parameters")
    schema = folder / "metaparameters_schema.json"
    params = metaparameters.load(folder / "metaparameters.json", schema)
    journal = tmp_path / "journal"
    plan = SearchPlan(params.train_search_trials, journal=journal)
    tuning.search(samples, params, schema, plan, progress=False)
    assert len(open_study(journal).trials) == params.train_search_trials == QUICK["train_search_trials"]
