"""Nothing of a tested model reaches what it is tested by; reports repeat to the byte."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from weightfeat.detector import Fold, Rows, Samples
from weightfeat.detector.folds import stratified_folds
from weightfeat.errors import BadMetaparameters, BadOutput
from weightfeat.evaluation import metrics
from weightfeat.evaluation.control import control_samples, cross_validate_controls
from weightfeat.evaluation.crossval import CrossValidation, cross_validate
from weightfeat.evaluation.folds import leave_one_out_folds
from weightfeat.evaluation.intervals import bootstrap
from weightfeat.evaluation.report import as_json, as_predictions, as_table, summarise, write

ARCHITECTURES = ("resnet18", "vgg11_bn", "shufflenet_v2_x1_0")


class Linear:
    """p = sigmoid of the projection on the line through the two labels' means; of the detector's form."""

    def fit(self, samples: Samples) -> Linear:
        X, y = samples.rows(()).values, samples.y
        clean, trojaned = (X[y == label].mean(axis=0) for label in (0, 1))
        self.direction, self.middle = trojaned - clean, (trojaned + clean) / 2
        return self

    def predict_proba(self, samples: Samples) -> np.ndarray:
        p = 1 / (1 + np.exp(-(samples.rows(()).values - self.middle) @ self.direction))
        return np.column_stack([1 - p, p])


class Canary:
    """Remembers which rows and labels it was given; answers with a constant."""

    def __init__(self, log: list[dict[str, Any]]) -> None:
        self.log = log

    def fit(self, samples: Samples) -> Canary:
        self.log.append({"fitted": samples})
        return self

    def predict_proba(self, samples: Samples) -> np.ndarray:
        self.log[-1] |= {"tested": samples}
        return np.full((len(samples), 2), 0.5)


def population(n: int = 60, seed: int = 0, groups: list[str] | None = None) -> Samples:
    """Networks with four features, of which the first tells the label."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, 4))
    X[:, 0] += 2.0 * y
    architectures = [ARCHITECTURES[i // 2 % 3] for i in range(n)]
    families = [name.split("_")[0] for name in architectures]
    names = [f"id-{i:08d}" for i in range(n)]
    return Samples.of_table(Rows.of(list("abcd"), X, architectures, families), y, names=names, group=groups)


class Counted(Samples):
    """Networks of which the number of classes is known beside a table."""

    counts: tuple[float, ...] = ()

    @property
    def class_counts(self) -> tuple[float, ...]:
        return tuple(self.counts)


def counted(samples: Samples, counts: list[float]) -> Samples:
    found = Counted(**{field.name: getattr(samples, field.name) for field in fields(Samples)})
    object.__setattr__(found, "counts", tuple(counts))
    return found


def validate(
    folds: Sequence[Fold] | None = None, jobs: int = 1, permute: int | None = None
) -> CrossValidation:
    samples = population()
    if permute is not None:
        samples = replace(samples, y=np.random.default_rng(permute).permutation(samples.y))
    folds = folds or stratified_folds(samples, n_folds=3, n_repeats=2)
    return cross_validate(samples, Linear, folds, jobs=jobs)


def controls(folds: Sequence[Fold]) -> dict[str, CrossValidation]:
    return cross_validate_controls(counted(population(), [5.0 + i % 7 for i in range(60)]), folds)


def metadata_rows(n: int = 60) -> list[dict[str, str]]:
    """A METADATA row a model, polygons and filters in turn."""
    common = {"number_triggered_classes": "1", "number_classes": "5", "triggered_fraction": "0.3"}
    return [
        {"poisoned": str(i % 2 == 1), "trigger_type": "polygon" if i % 4 == 1 else "instagram", **common}
        for i in range(n)
    ]


def test_no_row_or_label_of_a_tested_model_reaches_fit() -> None:
    samples = population(24, groups=[f"seed{i // 2}" for i in range(24)])
    folds = stratified_folds(samples, n_folds=4, n_repeats=3)
    log: list[dict[str, Any]] = []
    cross_validate(samples, lambda: Canary(log), folds)
    assert len(log) == 12
    for seen, fold in zip(log, folds, strict=True):
        learned, tested = seen["fitted"], seen["tested"]
        assert learned.names == tuple(samples.names[i] for i in fold.train)
        assert tested.names == tuple(samples.names[i] for i in fold.test)
        assert not set(learned.names) & set(tested.names)
        assert list(learned.y) == list(samples.y[fold.train])
        assert learned.architecture == tuple(samples.architecture[i] for i in fold.train)
        assert tested.family == tuple(samples.family[i] for i in fold.test)
        assert not set(learned.group) & set(tested.group)


def test_folds_of_the_same_rows_are_fitted_once() -> None:
    samples = population(24)
    folds = stratified_folds(samples, n_folds=4, n_repeats=1)
    log: list[dict[str, Any]] = []
    steps: list[tuple[int, int]] = []
    twice = [*folds, *(replace(fold, repeat=1, name=f"again {fold.name}") for fold in folds)]
    cross_validate(
        samples, lambda: Canary(log), twice, progress=lambda done, total: steps.append((done, total))
    )
    assert len(log) == 4
    assert steps[-1] == (4, 4)
    cv, once = validate_with(twice), validate_with(folds)
    for repeat in (0, 1):
        np.testing.assert_array_equal(cv.alone(repeat).probabilities, once.probabilities)
    np.testing.assert_array_equal(cv.folds[1], once.folds[0] + 4)


def validate_with(folds: Sequence[Fold]) -> CrossValidation:
    return cross_validate(population(24), Linear, folds)


def test_labels_of_tested_models_do_not_change_their_probability() -> None:
    samples = population()
    folds = stratified_folds(samples, n_folds=5, n_repeats=1)
    before = cross_validate(samples, Linear, folds)
    flipped = samples.y.copy()
    flipped[folds[0].test] = 1 - flipped[folds[0].test]
    after = cross_validate(replace(samples, y=flipped), Linear, folds)
    np.testing.assert_array_equal(
        after.probabilities[0, folds[0].test], before.probabilities[0, folds[0].test]
    )
    assert not np.array_equal(after.probabilities, before.probabilities)


def test_signal_is_found_and_permuted_labels_have_none() -> None:
    cv = validate()
    assert bootstrap(cv.labels, cv.probabilities, "roc_auc").low > 0.65
    misses = 0
    for seed in range(10):
        cv = validate(permute=seed)
        auc = bootstrap(cv.labels, cv.probabilities, "roc_auc", draws=500)
        misses += not auc.low <= 0.5 <= auc.high
    assert misses <= 2


def test_jobs_and_runs_do_not_change_the_result() -> None:
    once, again, parallel = validate(), validate(), validate(jobs=2)
    np.testing.assert_array_equal(once.probabilities, again.probabilities)
    np.testing.assert_allclose(once.probabilities, parallel.probabilities, atol=1e-12)
    np.testing.assert_array_equal(once.folds, parallel.folds)


class Refusing(Linear):
    """Refuses whatever it is given."""

    def fit(self, samples: Samples) -> Linear:
        raise BadMetaparameters("is 3", where="train_x", expected="less", remedy="lower it")


@pytest.mark.parametrize("jobs", [1, 2])
def test_refusal_in_a_worker_arrives_as_it_is(jobs: int) -> None:
    samples = population(12)
    folds = stratified_folds(samples, n_folds=3, n_repeats=1)
    with pytest.raises(BadMetaparameters, match="train_x: is 3; expected less; lower it"):
        cross_validate(samples, Refusing, folds, jobs=jobs)


def test_progress_counts_every_fold() -> None:
    samples = population(12)
    folds = stratified_folds(samples, n_folds=3, n_repeats=2)
    steps: list[tuple[int, int]] = []
    cross_validate(samples, Linear, folds, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(i, 6) for i in range(1, 7)]


def test_leave_one_architecture_out_tests_each_architecture_by_the_others() -> None:
    samples = population()
    log: list[dict[str, Any]] = []
    cv = cross_validate(samples, lambda: Canary(log), leave_one_out_folds(samples, samples.architecture))
    assert cv.fold_names == tuple(sorted(ARCHITECTURES))
    for seen in log:
        assert not set(seen["fitted"].architecture) & set(seen["tested"].architecture)


def test_some_of_the_models_keep_their_probabilities_labels_and_folds() -> None:
    samples = population()
    y, architectures = samples.y, samples.architecture
    cv = cross_validate(samples, Linear, stratified_folds(samples))
    kept = np.array([7, 2, 11])
    part = cv.only(kept)
    assert part.names == tuple(cv.names[i] for i in kept)
    assert part.architectures == tuple(architectures[i] for i in kept)
    np.testing.assert_array_equal(part.labels, y[kept])
    np.testing.assert_array_equal(part.probabilities, cv.probabilities[:, kept])
    np.testing.assert_array_equal(part.folds, cv.folds[:, kept])


def test_wrong_folds_are_refused() -> None:
    samples = population(12)
    folds = stratified_folds(samples, n_folds=3, n_repeats=1)
    leaky = replace(folds[0], train=np.arange(12))
    for bad, what in [
        ((leaky, *folds[1:]), "trains on models it tests"),
        (folds[1:], "exactly once"),
        ((), "no folds"),
    ]:
        with pytest.raises(ValueError, match=what):
            cross_validate(samples, Linear, bad)


def test_control_sees_metadata_only_and_finds_a_confounded_architecture() -> None:
    y = np.r_[np.zeros(30), np.ones(30)].astype(int)
    confounded = ["resnet18" if label else "vgg11_bn" for label in y]
    samples = counted(Samples.of_table(Rows.of(["a"], np.zeros((60, 1)), confounded), y), [7.0] * 60)
    assert control_samples(samples).rows(()).names == (
        *("architecture=resnet18", "architecture=vgg11_bn", "classes"),
    )
    folds = stratified_folds(replace(population(), y=y, architecture=("any",) * 60), n_repeats=1)
    found = cross_validate_controls(samples, folds)
    assert set(found) == {"logistic", "trees"}
    assert all(metrics.roc_auc(y, cv.probabilities) == 1.0 for cv in found.values())


def test_pairs_tested_together_keep_the_control_at_chance() -> None:
    """Four networks of each of 20 architectures, in pairs of both labels: metadata says nothing.

    Folds that part a pair leave behind more networks of the other label, and so reward guessing the opposite.
    """
    y, pairs = np.arange(80) % 2, [str(i // 2) for i in range(80)]
    rows = Rows.of(["a"], np.zeros((80, 1)), [f"a{i // 4}" for i in range(80)])
    found = []
    for groups in (pairs, None):
        samples = counted(Samples.of_table(rows, y, group=groups), [7.0] * 80)
        folds = stratified_folds(samples, n_repeats=2)
        tried = cross_validate_controls(samples, folds)["logistic"]
        found.append(np.mean([metrics.roc_auc(y, p) for p in tried.probabilities]))
    assert found[0] == pytest.approx(0.5, abs=0.05)
    assert found[1] < 0.3


def test_control_bears_unknown_class_counts() -> None:
    folds = stratified_folds(population(), n_folds=3, n_repeats=1)
    found = cross_validate_controls(counted(population(), [float("nan")] * 60), folds)
    assert all(np.isfinite(control.probabilities).all() for control in found.values())


def test_report_agrees_with_its_predictions(tmp_path: Path) -> None:
    cv = validate()
    folds = stratified_folds(population(), n_folds=3, n_repeats=2)
    report = summarise(cv, metadata_rows(), controls(folds), draws=100)
    write(tmp_path / "new" / "folder", report, cv)
    tree = json.loads((tmp_path / "new" / "folder" / "cv.json").read_text())
    wanted = {"cross_entropy", "cross_entropy_ci95", "brier", "roc_auc", "models", "strata", "control"}
    assert wanted <= set(tree)
    with (tmp_path / "new" / "folder" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["model", "truth", "probability", "fold", "architecture"]
    assert len(rows) == 2 * tree["models"] == 120
    truth, p = [int(row["truth"]) for row in rows], [float(row["probability"]) for row in rows]
    assert tree["cross_entropy"] == pytest.approx(metrics.cross_entropy(truth, p))
    assert tree["brier"] == pytest.approx(metrics.brier(truth, p))
    halves = [metrics.roc_auc(truth[:60], p[:60]), metrics.roc_auc(truth[60:], p[60:])]
    assert tree["roc_auc"] == pytest.approx(sum(halves) / 2)
    assert tree["cross_entropy_ci95"] == pytest.approx(
        metrics.cross_entropy_interval(cv.labels, np.reshape(p, (2, 60)))
    )
    assert len({row["fold"] for row in rows}) == 6
    assert tree["strata"]["trigger"]["none"]["roc_auc"] is None  # JSON has no NaN


def test_controls_differences_are_paired_and_signed() -> None:
    cv = validate()
    report = summarise(
        cv, [{}] * 60, {"itself": cv, "worse": replace(cv, probabilities=1 - cv.probabilities)}, draws=50
    )
    itself, worse = report.control["itself"], report.control["worse"]
    assert itself.roc_auc_difference.high == itself.roc_auc_difference.low == 0
    assert worse.roc_auc_difference.low > 0 > worse.cross_entropy_difference.high


def test_identical_runs_give_identical_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        cv = validate()
        folds = stratified_folds(population(), n_folds=3, n_repeats=2)
        write(tmp_path / name, summarise(cv, metadata_rows(), controls(folds), draws=50), cv)
    for file in ("cv.json", "predictions.csv"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["cv.json", "predictions.csv"]


def test_table_names_every_stratum_and_says_when_models_are_few() -> None:
    cv = validate()
    report = summarise(cv, metadata_rows(), {}, draws=50)
    text = as_table(report)
    assert all(stratum.value in text for stratum in report.strata)
    assert f"{report.cross_entropy:.4f}" in text
    assert "too few" not in as_table(replace(report, roc_auc_interval=(0.90, 0.95)))
    assert "too few" in as_table(replace(report, roc_auc_interval=(0.60, 0.95)))


def test_twelve_models_can_be_reported() -> None:
    samples = population(12)
    folds = stratified_folds(samples, n_folds=5, n_repeats=1)
    cv = cross_validate(samples, Linear, folds)
    found = cross_validate_controls(counted(samples, [5.0] * 12), folds)
    report = summarise(cv, [{}] * 12, found, draws=50)
    assert "12 models" in as_table(report)
    json.loads(as_json(report))
    assert as_predictions(cv).count("\n") == 13


@pytest.mark.parametrize("blocked", ["folder is a file", "cv.json is a folder"])
def test_unwritable_output_is_one_line(tmp_path: Path, blocked: str) -> None:
    cv = validate()
    target = tmp_path / "out"
    if blocked == "folder is a file":
        target.write_text("")
    else:
        (target / "cv.json").mkdir(parents=True)
    with pytest.raises(BadOutput) as caught:
        write(target, summarise(cv, [{}] * 60, {}, draws=10), cv)
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)
