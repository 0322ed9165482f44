"""What `weightfeat cv` measures, end to end on tiny networks; permuted labels and targets teach nothing."""

from __future__ import annotations

import csv
import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from container_round import QUICK, write_parameters
from detector_samples import shipped
from labelled_samples import labelled_sample, small_sample
from weightfeat.detector import Detector
from weightfeat.detector.folds import stratified_folds
from weightfeat.evaluation import plots
from weightfeat.evaluation.crossval import cross_validate
from weightfeat.evaluation.intervals import bootstrap
from weightfeat.evaluation.naming import recover
from weightfeat.evaluation.search import SearchPlan
from weightfeat.learning import configure, measure, tuning
from weightfeat.metaparameters import Metaparameters
from weightfeat.rounds.labelled import LabelledSet


@pytest.fixture(scope="module")
def labelled() -> LabelledSet:
    return labelled_sample(48)


@pytest.fixture(scope="module")
def quick() -> Metaparameters:
    return shipped().replace(**QUICK)


@pytest.fixture(scope="module")
def measured(labelled: LabelledSet, quick: Metaparameters) -> measure.Measured:
    plan = measure.Plan(folds=2, repeats=2, curve=True)
    return measure.measure(labelled.samples, labelled.rows, quick, plan, progress=False)


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
        folds = stratified_folds(other.samples, n_folds=3, n_repeats=1)
        cv = cross_validate(other.samples, partial(Detector, quick), folds)
        auc = bootstrap(cv.labels, cv.probabilities, "roc_auc", draws=500)
        inside += auc.low <= 0.5 <= auc.high
    assert inside >= 3


def test_the_same_networks_with_their_own_labels_do(measured: measure.Measured) -> None:
    assert measured.report.roc_auc_interval[0] > 0.6


def test_each_architecture_and_family_is_left_out_once(measured: measure.Measured) -> None:
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
    alone = [i for i, a in enumerate(labelled.samples.architecture) if a == "resnet18"]
    few = LabelledSet(
        tuple(labelled.names[i] for i in alone),
        tuple(labelled.labels[i] for i in alone),
        tuple(labelled.digests[i] for i in alone),
        labelled.metadata.iloc[alone],
    )
    schema = write_parameters(tmp_path) / "metaparameters_schema.json"
    plain, nested = (
        measure.measure(few.samples, few.rows, quick, measure.Plan(2, 1, nested=search), progress=False)
        for search in (None, measure.Nested(1, schema))
    )
    assert all("only ['resnet" in held.refusal for held in plain.held_out)
    assert "not possible" in measure.as_table(plain)
    assert (nested.validation.folds == plain.validation.folds).all()
    assert (nested.validation.probabilities != plain.validation.probabilities).any()


def test_networks_of_unknown_architecture_are_called_what_metadata_calls_them(quick: Metaparameters) -> None:
    """In tables; what is learned is what a scan will know them by."""
    few, plan = small_sample(24), measure.Plan(folds=2, repeats=1)
    assert set(few.samples.architecture) == {"unknown"}
    words = ["classification:resnet50", "classification:vit_base_patch32_224", "null"]
    column = [words[at // 2 % 3] for at in range(24)]
    called = dataclasses.replace(few, metadata=few.metadata.assign(model_architecture=column))
    plain, named = (
        measure.measure(each.samples, each.rows, quick, plan, progress=False) for each in (few, called)
    )
    names = {"resnet50", "vit_base_patch32_224", "unknown"}
    assert set(plain.validation.architectures) == {"unknown"}
    assert {s.value for s in named.report.strata if s.kind == "architecture"} == names
    by_kind = {held.kind: {s.value for s in held.strata} for held in named.held_out}
    assert by_kind == {"architecture": names, "family": {"resnet", "unknown"}}
    np.testing.assert_array_equal(named.validation.probabilities, plain.validation.probabilities)


def test_targets_are_recovered_by_models_that_never_saw_the_network(labelled: LabelledSet) -> None:
    folds, params = stratified_folds(labelled.samples, n_folds=3, n_repeats=1), shipped()
    found = {r.cell: r for r in recover(labelled.samples, labelled.rows, folds, params)}
    assert found["all networks"].networks == 24
    assert found["all networks"].target_hits > 2 * found["all networks"].chance
    assert sum(found[c].networks for c in ("one", "two", "all")) == 24
    for crossed in ("classes x", "polygon x", "filter x"):
        assert any(crossed in c for c in found)
    assert sum(r.networks for c, r in found.items() if "classes x" in c) == 24
    assert sum(r.networks for c, r in found.items() if " x " in c) == 48
    assert np.isnan(found["all networks"].flagged)
    certain = np.ones((1, len(labelled.names)))
    sure = recover(labelled.samples, labelled.rows, folds, params, certain)[0]
    assert (sure.flagged, sure.flagged_hits) == (24, sure.target_hits)
    other = permuted(labelled, 1)
    strangers = {r.cell: r for r in recover(other.samples, other.rows, folds, params)}
    assert strangers["all networks"].target_hits < found["all networks"].target_hits


def test_the_learning_curve_ends_where_the_report_stands(measured: measure.Measured) -> None:
    points = measured.curve
    assert [p.models for p in points] == sorted(p.models for p in points)
    assert points[-1].models == 24
    assert points[-1].cross_entropy.value == pytest.approx(measured.report.cross_entropy)
    assert points[-1].cross_entropy_minus_all.value == 0
    assert {p.draws for p in points} == {2}


def test_the_naming_curve_learns_from_what_the_learning_curve_learns_from(measured: measure.Measured) -> None:
    points = measured.naming
    assert [(p.share, p.models) for p in points] == [(p.share, p.models) for p in measured.curve]
    assert points[-1].found == measured.recovery
    for point in points:
        found = point.of("all networks")
        assert found is not None
        assert found.networks == 24
    last = points[-1].of("all networks")
    assert last is not None
    assert f"{last.target_hits / 24:.3f}" in measure.as_table(measured).splitlines()[-1]


def test_everything_is_printed_and_written(measured: measure.Measured, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = measure.as_table(measured)
    for word in (
        "leave one architecture out",
        "leave one family out",
        "target class found",
        "learning curve",
    ):
        assert word in text
    measure.write(tmp_path / "one", measured)
    measure.write(tmp_path / "two", measured)
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
    samples, plan = labelled.samples, SearchPlan(2)
    folds = stratified_folds(samples, n_folds=2, n_repeats=1)
    found = []
    for fold in folds:
        tuned = tuning.searching(quick, schema, plan)()
        tuned.fit(samples.take(fold.train))
        found.append(tuned.params_)
        assert tuned.predict_proba(samples.take(fold.test)).shape == (24, 2)
    assert {one.train_seed for one in found} == {quick.train_seed}
    assert not any(one.train_block_data for one in found)
    assert all(10 <= one.train_num_trees <= 20 for one in found)
    begun = tuning.searching(quick, schema, SearchPlan(1), from_params=True)()
    begun.fit(samples)
    chosen = ("train_learning_rate", "train_num_leaves", "train_shrinkage", "train_class_c")
    assert all(getattr(begun.params_, name) == getattr(quick, name) for name in chosen)
    assert not any(getattr(one, name) == getattr(quick, name) for name in chosen[::2] for one in found)


def test_without_matplotlib_tables_are_still_written(
    measured: measure.Measured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(plots, "available", lambda: False)
    measure.write(tmp_path, measured)
    assert "matplotlib is not installed" in caplog.messages[0]
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
            workers = jobs if threads == 2 else 1
            detector = configure.learn(labelled.samples, quick, folder, jobs=workers)
        assert detector.learned_.classes is not None
    first, second = ({p.name: p.read_bytes() for p in folder.iterdir()} for folder in folders)
    assert first == second
