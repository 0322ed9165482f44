"""Rivals: their numbers mean what their papers say, and nothing of them is fitted outside the folds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

from detector_samples import quick
from networks import network_of, permute_cnn, plain_cnn
from rival_detectors import (
    RIVALS,
    Rival,
    channel_lipschitz,
    dixon,
    final_layer,
    known_by,
    rivals,
    run,
    sorted_weights,
    table,
    weightwatcher,
)
from rival_detectors.comparison import as_markdown, compare
from weightfeat import digest
from weightfeat.detector import Rows, Samples
from weightfeat.detector.folds import stratified_folds
from weightfeat.digest import Digest
from weightfeat.digest.channels import QUANTILES
from weightfeat.errors import BadRound
from weightfeat.rounds.labelled import LabelledSet

COUNT = 24


def _network(seed: int, trojaned: bool) -> nn.Module:
    model = plain_cnn(classes=6 + seed % 3, seed=seed)
    if trojaned:
        model.fc.weight.data[seed % 5] += 0.35
    return model


def _digest(model: nn.Module, key: int) -> Digest:
    return digest.compute(network_of(model), key=f"{key:064x}", device="cpu")


@pytest.fixture(scope="module")
def labelled() -> LabelledSet:
    """Random networks of two architectures' names; a trojaned one has a class whose whole row is raised."""
    labels = tuple(n % 2 for n in range(COUNT))
    digests = tuple(
        dataclasses.replace(
            _digest(_network(n, bool(y)), n), architecture=("resnet18", "vgg11")[n // 2 % 2], family="resnet"
        )
        for n, y in enumerate(labels)
    )
    metadata = pd.DataFrame(
        {
            "poisoned": [str(bool(y)) for y in labels],
            "number_triggered_classes": [str((n // 2 % 2 + 1) * y) for n, y in enumerate(labels)],
            "number_classes": [str(d.num_classes) for d in digests],
        },
        index=[f"id-{n}" for n in range(COUNT)],
    )
    return LabelledSet(tuple(metadata.index), labels, digests, metadata)


@pytest.mark.parametrize("name", list(RIVALS))
def test_features_ignore_the_order_of_channels(name: str) -> None:
    plain, moved = plain_cnn(seed=3), permute_cnn(plain_cnn(seed=3))
    left, right = (RIVALS[name].features(_digest(model, 0)) for model in (plain, moved))
    assert list(left) == list(right)
    values = np.array([list(left.values()), list(right.values())], dtype=float)
    assert np.isfinite(values).mean() > 0.9
    np.testing.assert_allclose(values[0], values[1], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", list(RIVALS))
def test_every_rival_runs_on_the_folds_and_gives_probabilities(name: str, labelled: LabelledSet) -> None:
    folds = stratified_folds(labelled.samples, n_folds=3, n_repeats=1)
    cv = run(RIVALS[name], labelled.samples, folds)
    assert cv.names == labelled.names
    assert np.isfinite(cv.probabilities).all()
    assert ((cv.probabilities > 0) & (cv.probabilities < 1)).all()


@pytest.mark.parametrize("name", list(RIVALS))
def test_a_test_row_is_not_influenced_by_its_fellows(name: str, labelled: LabelledSet) -> None:
    rival = RIVALS[name]
    samples, fitted = known_by(labelled.samples, rival), rival.make_estimator()
    fitted.fit(samples.take(np.arange(16)))
    together = fitted.predict_proba(samples.take(np.arange(16, COUNT)))[:, 1]
    alone = fitted.predict_proba(samples.take(np.array([20])))[0, 1]
    assert together[4] == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize("name", ["dixon", "final-layer", "latents", "latents-all"])
def test_a_raised_row_is_seen(name: str, labelled: LabelledSet) -> None:
    folds = stratified_folds(labelled.samples, n_folds=4, n_repeats=1)
    p = run(RIVALS[name], labelled.samples, folds).probabilities[0]
    y = np.array(labelled.labels)
    wins = (p[y == 1][:, None] > p[y == 0][None, :]).mean()
    assert wins > 0.75


def test_labels_of_tested_networks_do_not_matter(labelled: LabelledSet) -> None:
    """Flipping them changes no fold's probabilities: fitting saw the training rows alone."""
    fold = stratified_folds(labelled.samples, n_folds=3, n_repeats=1)[0]
    samples = known_by(labelled.samples, RIVALS["final-layer"])
    flipped = samples.y.copy()
    flipped[fold.test] = 1 - flipped[fold.test]
    results = []
    for labels in (samples.y, flipped):
        model = RIVALS["final-layer"].make_estimator()
        model.fit(dataclasses.replace(samples, y=labels, targets=(None,) * COUNT).take(fold.train))
        results.append(model.predict_proba(samples.take(fold.test)))
    np.testing.assert_array_equal(*results)


def test_dixon_critical_values_are_the_tabled_ones() -> None:
    tabled = {3: 0.941, 5: 0.642, 8: 0.468, 10: 0.412}  # Rorabacher 1991, table 1, 90 %
    for count, value in tabled.items():
        assert dixon.critical(count) == pytest.approx(value, abs=0.012)


def test_dixon_is_the_gap_over_the_range() -> None:
    model = plain_cnn(classes=4, seed=0)
    model.fc.weight.data = (
        model.fc.weight.data * 0 + model.fc.weight.data.new_tensor([1.0, 0.0, 2.0, 6.0])[:, None]
    )
    assert dixon.features(_digest(model, 1))["dixon"] == pytest.approx((6 - 2) / 6 / dixon.critical(4))


def test_anomaly_is_signed_and_robust() -> None:
    index = final_layer.anomaly(np.array([0.0, 1.0, -1.0, 0.5, -0.5, 100.0]))
    assert index.argmax() == 5
    assert index[2] < 0
    assert (final_layer.anomaly(np.ones(5)) == 0).all()


def test_moments_from_quantiles_of_a_uniform_law() -> None:
    mean, std = channel_lipschitz.moments_of(np.array([2 + 3 * QUANTILES]))
    assert mean[0] == pytest.approx(3.5)
    assert std[0] == pytest.approx(3 / np.sqrt(12))


def test_sorted_weights_forget_a_layers_scale_but_for_one_column() -> None:
    model = plain_cnn(seed=2)
    before = sorted_weights.by_layer(_digest(model, 0))
    model.conv1.weight.data *= 3
    after = sorted_weights.by_layer(_digest(model, 1))
    changed = [name for name in before if abs(before[name] - after[name]) > 1e-5]
    assert changed == ["1.log_std"]
    assert after["1.log_std"] - before["1.log_std"] == pytest.approx(np.log(3))


def test_an_architecture_too_small_or_unseen_gets_the_training_share(labelled: LabelledSet) -> None:
    rows = known_by(labelled.samples, RIVALS["sorted"]).rows(())
    y = np.array(labelled.labels)

    def placed(architectures: list[str]) -> Samples:
        return Samples.of_table(Rows.of(rows.names, rows.values, architectures, ["x"] * COUNT), y)

    model = RIVALS["r11"].make_estimator()
    model.fit(placed([f"a{n}" for n in range(COUNT)]))
    p = model.predict_proba(placed(["never seen"] * COUNT))[:, 1]
    np.testing.assert_allclose(p, y.mean(), atol=0.05)


def test_comparison_pairs_ours_with_theirs(labelled: LabelledSet) -> None:
    folds = stratified_folds(labelled.samples, n_folds=3, n_repeats=2)
    ours, theirs = (run(RIVALS[name], labelled.samples, folds) for name in ("latents-all", "clp"))
    rows = labelled.rows
    lines = compare(ours, [(RIVALS["clp"], theirs)], rows, draws=200)
    assert lines[1].cross_entropy_difference is not None
    assert lines[1].cross_entropy_difference.value == pytest.approx(
        lines[0].cross_entropy.value - lines[1].cross_entropy.value
    )
    assert {name: n for name, (_, n) in lines[0].by_sources.items()} == {"one": 6, "two": 6}
    text = as_markdown(lines, ours)
    assert text.count("\n| ") == 3
    assert "24 networks decide nothing" in text
    other = stratified_folds(labelled.samples, n_folds=3, n_repeats=2, seed=1)
    with pytest.raises(ValueError, match="same folds"):
        compare(ours, [(RIVALS["clp"], run(RIVALS["clp"], labelled.samples, other))], rows)


def _watched(folder: Path, labelled: LabelledSet) -> Path:
    (folder / "weightwatcher").mkdir()
    rng = np.random.default_rng(0)
    for digest_, label in zip(labelled.digests, labelled.labels, strict=True):
        frame = pd.DataFrame(
            {"layer_id": range(3), "alpha": rng.normal(4 - 2 * label, 0.3, 3), "D": [-100] * 3}
        )
        frame.to_csv(folder / "weightwatcher" / f"{digest_.key}.csv", index=False)
    return folder


def test_weightwatcher_is_absent_without_tables_and_learns_from_them(
    labelled: LabelledSet, tmp_path: Path
) -> None:
    params = quick()
    assert "weightwatcher" not in rivals(tmp_path, params)
    rival = rivals(_watched(tmp_path, labelled), params)["weightwatcher"]
    row = rival.features(labelled.digests[0])
    assert np.isnan(row["D.largest"])  # WeightWatcher writes -100 for what it did not fit
    assert np.isfinite(row["alpha.largest"])
    folds = stratified_folds(labelled.samples, n_folds=3, n_repeats=1)
    p = run(rival, labelled.samples, folds).probabilities[0]
    y = np.array(labelled.labels)
    assert (p[y == 1][:, None] > p[y == 0][None, :]).mean() > 0.9


def test_weightwatcher_names_the_network_without_a_table(labelled: LabelledSet, tmp_path: Path) -> None:
    rival = rivals(_watched(tmp_path, labelled), quick())["weightwatcher"]
    with pytest.raises(BadRound, match="no usable WeightWatcher table"):
        rival.features(dataclasses.replace(labelled.digests[0], key="f" * 64))
    path = tmp_path / "weightwatcher" / f"{labelled.digests[1].key}.csv"
    path.write_text("not,a,table\n1,2,3\n")
    with pytest.raises(BadRound):
        weightwatcher.summary(path)


def test_a_rival_may_name_other_columns_for_other_networks(labelled: LabelledSet) -> None:
    rival = Rival(
        "odd", "here", lambda d: {d.architecture: float("inf"), "both": 1.0}, RIVALS["dixon"].make_estimator
    )
    frame = table(labelled.names, labelled.digests, rival)
    assert set(frame.columns) == {"resnet18", "vgg11", "both"}
    assert frame[["resnet18", "vgg11"]].isna().all(axis=None)
    assert (frame["both"] == 1.0).all()
