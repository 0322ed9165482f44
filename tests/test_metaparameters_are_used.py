"""Every metaparameter that the detector alone does not use changes what configure learns or how it searches."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from container_round import QUICK, write_parameters
from labelled_samples import small_sample
from weightfeat import configure, features, metaparameters
from weightfeat.digest import Digest
from weightfeat.metaparameters import Metaparameters
from weightfeat.rounds.labelled import LabelledSet
from weightfeat.rounds.scanning import judged

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = tuple(name for name in Metaparameters.names() if name.startswith("train_block_"))


@pytest.fixture(scope="module")
def labelled() -> LabelledSet:
    """Networks of two families whose norms saw different data for different lengths, so that every block, and every
    metaparameter, has something to tell."""
    sample = small_sample(16)
    trained = [_trained_for(digest, 50 + 7 * n) for n, digest in enumerate(sample.digests)]
    named = [
        dataclasses.replace(digest, family=("resnet", "vgg")[n // 2 % 2]) for n, digest in enumerate(trained)
    ]
    return dataclasses.replace(sample, digests=tuple(named))


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
    return params.replace(**QUICK, train_logistic_weight=0.5)


def _learned(labelled: LabelledSet, params: Metaparameters, folder: Path) -> np.ndarray:
    folder.mkdir()
    judge = configure.learn(labelled, params, folder, log=lambda line: None)
    start = time.perf_counter()
    verdicts = [judged(Path("m"), d, judge, start=start) for d in labelled.digests]
    return np.array([verdict.probability for verdict in verdicts])


def test_blocks_and_metaparameters_name_each_other() -> None:
    assert {name.removeprefix("train_block_") for name in BLOCKS} == set(features.BLOCKS)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_switched_changes_what_is_learned(
    name: str, labelled: LabelledSet, quick: Metaparameters, tmp_path: Path
) -> None:
    # The few trees here need not split on a block's columns; a regression reads every one.
    quick = quick.replace(train_logistic_on="all")
    switched = quick.replace(**{name: not getattr(quick, name)})
    assert set(features.names(switched.blocks)) != set(features.names(quick.blocks))
    before = _learned(labelled, quick, tmp_path / "before")
    after = _learned(labelled, switched, tmp_path / "after")
    assert not np.array_equal(before, after)


PAIRS_READ = {"train_logistic_on": "classes"}
"""Odds leave pairs to the trees, and the few trees here need not split on them; a regression reads every column."""


@pytest.mark.parametrize(
    ("given", "change"),
    [
        ({}, {"train_class_evidence": False}),
        ({}, {"train_class_c": 0.1}),
        ({}, {"train_class_own_c": 0.1}),
        ({}, {"train_class_family_c": 10.0}),
        (PAIRS_READ, {"train_class_pair_c": 0.1}),
        ({}, {"train_class_squares": 0.0}),
        ({}, {"train_class_scale_classes": 3.0}),
        ({}, {"train_class_folds": 2}),
        ({}, {"train_logistic_on": "all"}),
        ({}, {"train_trees_see_classes": True}),
    ],
)
def test_class_evidence_changes_what_is_learned(
    given: dict[str, object],
    change: dict[str, object],
    labelled: LabelledSet,
    quick: Metaparameters,
    tmp_path: Path,
) -> None:
    before = _learned(labelled, quick.replace(**given), tmp_path / "before")
    after = _learned(labelled, quick.replace(**given, **change), tmp_path / "after")
    assert not np.array_equal(before, after)


def test_trials_are_run(labelled: LabelledSet, tmp_path: Path) -> None:
    from weightfeat.evaluation.study import open_study

    folder = write_parameters(tmp_path / "parameters")
    schema = folder / "metaparameters_schema.json"
    params = metaparameters.load(folder / "metaparameters.json", schema)
    journal = tmp_path / "journal"
    configure.search(
        labelled, params, schema, trials=params.train_search_trials, storage=journal, progress=False
    )
    assert len(open_study(journal).trials) == params.train_search_trials == QUICK["train_search_trials"]
