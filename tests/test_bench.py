"""What `weightfeat cv` measures, end to end on tiny networks; permuted labels and targets teach nothing."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from container_round import QUICK, write_parameters
from detector_samples import shipped
from labelled_samples import labelled_sample
from weightfeat import bench, configure, features
from weightfeat.classmodel.measure import recover
from weightfeat.evaluation import plots
from weightfeat.evaluation.crossval import cross_validate
from weightfeat.evaluation.folds import stratified_folds
from weightfeat.evaluation.intervals import bootstrap
from weightfeat.metaparameters import Metaparameters
from weightfeat.rounds.labelled import LabelledSet


@pytest.fixture(scope="module")
def labelled() -> LabelledSet:
    return labelled_sample(48)


@pytest.fixture(scope="module")
def quick() -> Metaparameters:
    return shipped().replace(**QUICK, train_class_folds=2)


@pytest.fixture(scope="module")
def measured(labelled: LabelledSet, quick: Metaparameters) -> bench.Measured:
    return bench.measure(labelled, quick, folds=2, repeats=2, curve=True, progress=False)


def permuted(labelled: LabelledSet, seed: int) -> LabelledSet:
    """Every network gets the label, the target and all else METADATA says of another of the same class count."""
    order = np.random.default_rng(seed).permutation(len(labelled.names))
    metadata = labelled.metadata.iloc[order].set_axis(list(labelled.names), axis=0)
    return dataclasses.replace(labelled, labels=tuple(labelled.labels[i] for i in order), metadata=metadata)


def test_permuted_labels_and_targets_teach_nothing(labelled: LabelledSet, quick: Metaparameters) -> None:
    assert quick.train_class_evidence
    inside = 0
    for seed in range(4):
        other = permuted(labelled, seed)
        folds = stratified_folds(other.labels, other.architectures, n_folds=3, n_repeats=1)
        table = configure.feature_table(other, quick.blocks)
        make = configure.estimators(other)
        cv = cross_validate(
            *(table, other.labels, other.architectures, other.families, other.groups),
            lambda make=make: make(quick),
            folds,
        )
        auc = bootstrap(cv.labels, cv.probabilities, "roc_auc", draws=500)
        inside += auc.low <= 0.5 <= auc.high
    assert inside >= 3


def test_the_same_networks_with_their_own_labels_do(measured: bench.Measured) -> None:
    assert measured.report.roc_auc_interval[0] > 0.6


def test_each_architecture_and_family_is_left_out_once(measured: bench.Measured) -> None:
    by_kind = {held.kind: held for held in measured.held_out}
    assert [s.value for s in by_kind["architecture"].strata] == [
        "resnet18",
        "resnet34",
        "squeezenet1_1",
        "vgg11_bn",
    ]
    assert [s.value for s in by_kind["family"].strata] == ["resnet", "squeezenet", "vgg"]
    for held in by_kind.values():
        assert sum(s.models for s in held.strata) == 48
        assert held.ranked == len(held.strata)
        areas = [s.roc_auc for s in held.strata]
        assert held.mean_roc_auc.value == pytest.approx(np.mean(areas))
        assert held.mean_roc_auc.low <= held.mean_roc_auc.value <= held.mean_roc_auc.high
        mean = sum(s.cross_entropy * s.models for s in held.strata) / 48
        assert held.cross_entropy.value == pytest.approx(mean)
        assert held.worst.cross_entropy == max(s.cross_entropy for s in held.strata)


def test_one_architecture_alone_cannot_be_left_out(
    labelled: LabelledSet, quick: Metaparameters, tmp_path: Path
) -> None:
    alone = [i for i, a in enumerate(labelled.architectures) if a == "resnet18"]
    few = LabelledSet(
        tuple(labelled.names[i] for i in alone),
        tuple(labelled.labels[i] for i in alone),
        tuple(labelled.digests[i] for i in alone),
        labelled.metadata.iloc[alone],
    )
    schema = write_parameters(tmp_path) / "metaparameters_schema.json"
    plain, nested = (
        bench.measure(few, quick, folds=2, repeats=1, nested=trials, schema_path=schema, progress=False)
        for trials in (0, 1)
    )
    assert all("only ['resnet" in held.refusal for held in plain.held_out)
    assert "not possible" in bench.as_table(plain)
    assert (nested.validation.folds == plain.validation.folds).all()
    assert (nested.validation.probabilities != plain.validation.probabilities).any()


def test_targets_are_recovered_by_models_that_never_saw_the_network(labelled: LabelledSet) -> None:
    folds = stratified_folds(labelled.labels, labelled.architectures, n_folds=3, n_repeats=1)
    found = {r.cell: r for r in recover(labelled, folds)}
    assert found["all networks"].networks == 24
    assert found["all networks"].target_hits > 2 * found["all networks"].chance
    assert sum(found[c].networks for c in ("one", "two", "all")) == 24
    for crossed in ("classes x", "polygon x", "filter x"):
        assert any(crossed in c for c in found)
    assert sum(r.networks for c, r in found.items() if "classes x" in c) == 24
    assert sum(r.networks for c, r in found.items() if " x " in c) == 48
    assert np.isnan(found["all networks"].flagged)
    sure = recover(labelled, folds, probabilities=np.ones((1, len(labelled.names))))[0]
    assert (sure.flagged, sure.flagged_hits) == (24, sure.target_hits)
    strangers = {r.cell: r for r in recover(permuted(labelled, 1), folds)}
    assert strangers["all networks"].target_hits < found["all networks"].target_hits


def test_the_learning_curve_ends_where_the_report_stands(measured: bench.Measured) -> None:
    points = measured.curve
    assert [p.models for p in points] == sorted(p.models for p in points)
    assert points[-1].models == 24
    assert points[-1].cross_entropy.value == pytest.approx(measured.report.cross_entropy)
    assert points[-1].cross_entropy_minus_all.value == 0
    assert {p.draws for p in points} == {2}


def test_the_naming_curve_learns_from_what_the_learning_curve_learns_from(measured: bench.Measured) -> None:
    points = measured.naming
    assert [(p.share, p.models) for p in points] == [(p.share, p.models) for p in measured.curve]
    assert points[-1].found == measured.recovery
    for point in points:
        found = point.of("all networks")
        assert found is not None
        assert found.networks == 24
    last = points[-1].of("all networks")
    assert last is not None
    assert f"{last.target_hits / 24:.3f}" in bench.as_table(measured).splitlines()[-1]


def test_everything_is_printed_and_written(measured: bench.Measured, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = bench.as_table(measured)
    for word in (
        "leave one architecture out",
        "leave one family out",
        "target class found",
        "learning curve",
    ):
        assert word in text
    bench.write(tmp_path / "one", measured, print)
    bench.write(tmp_path / "two", measured, print)
    written = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    tables = {"cv.json", "predictions.csv", "effects.csv", "effects.md", "learning_curve.csv"}
    pictures = {"reliability.png", "effects.png", "interactions.png", "learning_curve.png"}
    assert set(written) == tables | pictures
    tree = json.loads(written["cv.json"])
    assert set(tree["leave_one_out"]) == {"architecture", "family"}
    assert tree["target_recovery"][0]["cell"] == "all networks"
    low, high = tree["calibration_error_interval"]
    assert 0 <= low <= high <= 1
    curve = list(csv.DictReader(written["learning_curve.csv"].decode().splitlines()))
    assert [float(row["models"]) for row in curve] == [p.models for p in measured.curve]


@pytest.mark.e2e
def test_nested_cross_validation_searches_inside_the_folds(
    labelled: LabelledSet, quick: Metaparameters, tmp_path: Path
) -> None:
    schema = write_parameters(tmp_path) / "metaparameters_schema.json"
    folds = stratified_folds(labelled.labels, labelled.architectures, n_folds=2, n_repeats=1)
    table = configure.feature_table(labelled, features.BLOCKS)
    found = []
    for fold in folds:
        tuned = configure.searching(labelled, quick, schema, trials=2)()
        y = np.array(labelled.labels)[fold.train]
        places = [labelled.architectures[i] for i in fold.train]
        tuned.fit(table.iloc[fold.train], y, architecture=places, family=places)
        found.append(tuned.params_)
        p = tuned.predict_proba(
            table.iloc[fold.test],
            architecture=[labelled.architectures[i] for i in fold.test],
            family=[labelled.families[i] for i in fold.test],
        )
        assert p.shape == (24, 2)
    assert {one.train_seed for one in found} == {quick.train_seed}
    assert not any(one.train_block_moments for one in found)
    assert all(10 <= one.train_num_trees <= 20 for one in found)
    begun = configure.searching(labelled, quick, schema, trials=1, from_params=True)()
    begun.fit(table, np.array(labelled.labels), architecture=labelled.architectures, family=labelled.families)
    chosen = ("train_learning_rate", "train_num_leaves", "train_shrinkage", "train_class_c")
    assert all(getattr(begun.params_, name) == getattr(quick, name) for name in chosen)
    assert not any(getattr(one, name) == getattr(quick, name) for name in chosen[::2] for one in found)


def test_without_matplotlib_tables_are_still_written(
    measured: bench.Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "available", lambda: False)
    said: list[str] = []
    bench.write(tmp_path, measured, said.append)
    assert "matplotlib is not installed" in said[0]
    assert not list(tmp_path.glob("*.png"))
    assert (tmp_path / "cv.json").is_file()


@pytest.mark.parametrize("jobs", [1, 2])
def test_configure_learns_the_same_bytes_again(
    jobs: int, labelled: LabelledSet, quick: Metaparameters, tmp_path: Path
) -> None:
    """Class evidence included, for any number of threads in linear algebra and processes beside."""
    from threadpoolctl import threadpool_limits

    folders = [tmp_path / name for name in ("one", "two")]
    for threads, folder in enumerate(folders, start=1):
        folder.mkdir()
        with threadpool_limits(limits=threads):
            judge = configure.learn(
                labelled, quick, folder, jobs=jobs if threads == 2 else 1, log=lambda line: None
            )
        assert judge.evidence is not None
    first, second = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert first == second
