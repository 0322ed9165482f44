"""Class supervision: its rows, its promise not to leak, and its storage."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import network_of, permute_cnn, plain_cnn, randomise_norms
from weightfeat import digest
from weightfeat.classmodel import NAMES, ClassEvidence, ClassRows, ClassSettings, Target, class_rows
from weightfeat.classmodel.measure import recoveries, wilson
from weightfeat.classmodel.pipeline import WithClassEvidence
from weightfeat.classmodel.rows import CLASS_COLUMNS, PAIR_COLUMNS, PAIR_OWN, full_pair_scale
from weightfeat.classmodel.summary import noisy_or, summarise
from weightfeat.classmodel.targets import target_of, targets_of
from weightfeat.errors import BadRound
from weightfeat.rounds.labelled import LabelledSet
from weightfeat.zoo.vision import build_network

CLASSES = 6


def _unscaled(classes: np.ndarray, pairs: np.ndarray) -> ClassRows:
    return ClassRows("a", "f", True, classes, pairs, np.ones(classes.shape[1]), np.ones(len(PAIR_OWN)))


def _sample(
    count: int = 40, strength: float = 3.0, seed: int = 0
) -> tuple[list[ClassRows], np.ndarray, list[Target | None]]:
    """Rows of noise in which the target's first columns, and the trojan's pair, are raised."""
    rng = np.random.default_rng(seed)
    rows, targets = [], []
    labels = np.arange(count) % 2
    for label in labels:
        classes = rng.normal(size=(CLASSES, len(CLASS_COLUMNS)))
        pairs = rng.normal(size=(CLASSES, CLASSES, len(PAIR_COLUMNS)))
        target = None
        if label:
            t, s = (int(i) for i in rng.choice(CLASSES, 2, replace=False))
            target = Target(t, (s,))
            classes[t, :3] += strength
            pairs[t, s, :3] += strength
        rows.append(_unscaled(classes, pairs))
        targets.append(target)
    return rows, labels, targets


@pytest.mark.parametrize(("architecture", "normed"), [("squeezenet1_1", False), ("shufflenet_v2_x1_0", True)])
def test_rows_know_whether_a_batch_norm_feeds_the_head(architecture: str, normed: bool) -> None:
    network = network_of(randomise_norms(build_network(architecture, 5)))
    assert class_rows(digest.compute(network, key="0" * 64, device="cpu")).normed is normed


def test_rows_follow_the_network_not_the_order_of_its_channels() -> None:
    plain, moved = (
        class_rows(digest.compute(network_of(m), key="0" * 64, device="cpu"))
        for m in (plain_cnn(seed=4), permute_cnn(plain_cnn(seed=4)))
    )
    assert plain.classes.shape == (7, len(CLASS_COLUMNS))
    assert plain.pairs.shape == (7, 7, len(PAIR_COLUMNS))
    assert np.isfinite(plain.classes).all()
    assert np.isfinite(plain.pairs).all()
    _assert_same(moved, plain, 2e-2)
    assert not plain.pairs[np.eye(7, dtype=bool)].any()


def test_rows_follow_a_permutation_of_the_classes() -> None:
    model = plain_cnn(seed=5)
    before = class_rows(digest.compute(network_of(model), key="0" * 64, device="cpu"))
    order = np.random.default_rng(0).permutation(7)
    model.fc.weight.data, model.fc.bias.data = model.fc.weight.data[order], model.fc.bias.data[order]
    after = class_rows(digest.compute(network_of(model), key="0" * 64, device="cpu"))
    moved = dataclasses.replace(
        before, classes=before.classes[order], pairs=before.pairs[np.ix_(order, order)]
    )
    _assert_same(after, moved, 1e-3)


@pytest.mark.parametrize("factor", [0.01, 30.0])
@pytest.mark.parametrize("architecture", ["squeezenet1_1", "shufflenet_v2_x1_0"])
def test_rows_do_not_see_a_number_that_the_head_is_multiplied_by(architecture: str, factor: float) -> None:
    torch.manual_seed(0)
    model = randomise_norms(build_network(architecture, 5))
    before = class_rows(digest.compute(network_of(model), key="0" * 64, device="cpu"))
    head = model.classifier[1] if architecture == "squeezenet1_1" else model.fc
    head.weight.data *= factor
    head.bias.data *= factor
    after = class_rows(digest.compute(network_of(model), key="0" * 64, device="cpu"))
    _assert_same(after, before, 0.1)  # a digest holds the head in half precision


def _assert_same(found: ClassRows, expected: ClassRows, tolerance: float) -> None:
    """Within `tolerance` of the columns' own scales."""
    scales = {"classes": expected.class_scale}
    scales["pairs"] = full_pair_scale(expected.pair_scale, expected.class_scale)
    for table, scale in scales.items():
        difference = np.abs(getattr(found, table) - getattr(expected, table))
        assert (difference <= tolerance * scale + 1e-12).all()
    for name in ("class_scale", "pair_scale"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=tolerance)


def test_out_of_fold_evidence_does_not_know_its_own_label() -> None:
    """Changing what is said of one network leaves its own row untouched, and moves others'."""
    rows, labels, targets = _sample()
    whole = ClassEvidence().fit_transform(rows, labels, targets)
    at = int(np.flatnonzero(labels)[3])
    assert targets[at] is not None
    moved = list(targets)
    moved[at] = Target((targets[at].target + 1) % CLASSES, targets[at].sources and (targets[at].target,))
    other = ClassEvidence().fit_transform(rows, labels, moved)
    np.testing.assert_array_equal(whole.iloc[at], other.iloc[at])
    assert (whole.drop(index=at) != other.drop(index=at)).to_numpy().any()


def test_groups_stay_together() -> None:
    """A network's twin must not teach its label: in one group the twins' targets change nothing for either."""
    rows, labels, targets = _sample()
    pair = [int(i) for i in np.flatnonzero(labels)[:2]]
    groups = [str(i) for i in range(len(rows))]
    groups[pair[1]] = groups[pair[0]]
    moved = list(targets)
    for i in pair:
        assert targets[i] is not None
        moved[i] = Target((targets[i].target + 1) % CLASSES)
        targets[i] = Target(targets[i].target)
    first = ClassEvidence().fit_transform(rows, labels, targets, groups)
    second = ClassEvidence().fit_transform(rows, labels, moved, groups)
    np.testing.assert_array_equal(first.iloc[pair], second.iloc[pair])


def test_without_signal_training_rows_do_not_separate() -> None:
    """Rows a model was fitted on would: that is the leak the folds prevent."""
    honest, leaking = [], []
    for seed in range(6):
        rows, labels, targets = _sample(24, strength=0.0, seed=seed)
        evidence = ClassEvidence(ClassSettings(class_c=1000.0))
        frames = evidence.fit_transform(rows, labels, targets), evidence.transform(rows)
        for frame, areas in zip(frames, (honest, leaking), strict=True):
            v = frame["classes.largest"].to_numpy()
            areas.append((v[labels == 1][:, None] > v[labels == 0][None, :]).mean())
    assert np.mean(leaking) > 0.9
    assert 0.3 < np.mean(honest) < 0.7


def test_signal_is_found_out_of_fold_and_on_new_networks() -> None:
    rows, labels, targets = _sample()
    evidence = ClassEvidence()
    honest = evidence.fit_transform(rows, labels, targets, names=[f"n{i}" for i in range(len(rows))])
    assert list(honest.columns) == list(NAMES)
    assert list(honest.index[:2]) == ["n0", "n1"]
    hits = [
        s is not None and s.target == t.target for s, t in zip(evidence.suspects_, targets, strict=True) if t
    ]
    assert np.mean(hits) >= 0.8
    new, y, truth = _sample(30, seed=1)
    suspects = [evidence.judge(network)[1] for network in new]
    named = [(s, t) for s, t in zip(suspects, truth, strict=True) if t is not None and s is not None]
    assert np.mean([s.target == t.target for s, t in named]) >= 0.8
    assert np.mean([s.source in t.sources for s, t in named]) >= 0.6
    joint = evidence.transform(new)["classes.joint"].to_numpy()
    assert (joint[y == 1][:, None] > joint[y == 0][None, :]).mean() > 0.8


def _through_json(evidence: ClassEvidence) -> ClassEvidence:
    document, tables = evidence.to_parts()
    return ClassEvidence.from_parts(json.loads(json.dumps(document)), tables)


def test_made_again_from_its_parts_it_says_the_same() -> None:
    rows, labels, targets = _sample()
    evidence = ClassEvidence(ClassSettings(class_c=2.0)).fit(rows, labels, targets)
    loaded = _through_json(evidence)
    assert loaded.settings == evidence.settings
    pd.testing.assert_frame_equal(loaded.transform(rows), evidence.transform(rows), check_exact=True)
    assert [loaded.judge(network) for network in rows] == [evidence.judge(network) for network in rows]
    row, _ = loaded.judge(rows[3])
    assert row == loaded.transform(rows[3:4]).iloc[0].to_dict()


def test_members_are_the_models_of_the_folds_and_are_kept() -> None:
    rows, labels, targets = _sample()
    evidence = ClassEvidence(ClassSettings(folds=4))
    assert evidence.fit(rows, labels, targets).member_odds(rows[0]) == []
    evidence.fit_transform(rows, labels, targets)
    odds = np.array([evidence.member_odds(row) for row in rows])
    assert odds.shape == (len(rows), 4)
    assert [_through_json(evidence).member_odds(row) for row in rows] == odds.tolist()
    assert (odds.std(axis=1) > 1e-3).all()
    own = [evidence.judge(row)[0]["classes.odds"] for row in rows]
    assert np.corrcoef(odds.mean(axis=1), own)[0, 1] > 0.95


def test_a_model_that_could_not_be_learned_is_kept_as_absent() -> None:
    rows, labels, targets = _sample()
    unnamed = [Target(t.target) if t else None for t in targets]
    evidence = ClassEvidence().fit(rows, labels, unnamed)
    loaded = _through_json(evidence)
    suspect = loaded.judge(rows[0])[1]
    assert suspect is not None
    assert suspect.source is None
    row = loaded.transform(rows[:1]).iloc[0]
    assert row.filter(like="pair").isna().all()
    assert np.isfinite(row["classes.largest"])


@pytest.mark.parametrize(
    "damage",
    ["columns", "nan", "version", "shape", "scales", "architectures", "families", "settings", "members"],
)
def test_damaged_parts_are_refused(damage: str) -> None:
    rows, labels, targets = _sample(20)
    evidence = ClassEvidence()
    evidence.fit_transform(rows, labels, targets)
    document, tables = evidence.to_parts()
    if damage == "members":
        document["members"].append(0.0)
    if damage == "columns":
        document["target"]["columns"][0] = "other"
    if damage == "version":
        document["version"] = 99
    if damage == "nan":
        tables["class_pair_coefficient"] = tables["class_pair_coefficient"] * np.nan
    if damage == "shape":
        tables["class_target_scale"] = tables["class_target_scale"][:-1]
    if damage == "scales":
        tables["class_scales_total"] = tables["class_scales_total"] * 1e6 + 1e6
    if damage == "architectures":
        document["architectures"] = ["a", "b"]
    if damage == "families":
        document["families"] = []
    if damage == "settings":
        document["settings"]["folds"] = 1
    with pytest.raises((ValueError, KeyError, TypeError)):
        ClassEvidence.from_parts(document, tables)


@pytest.mark.parametrize("name", ["scale_classes", "squares", "class_c"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e300, "90", None])
def test_settings_out_of_all_measure_are_refused(name: str, value: object) -> None:
    rows, labels, targets = _sample(20)
    document, tables = ClassEvidence().fit(rows, labels, targets).to_parts()
    document["settings"][name] = value
    with pytest.raises((ValueError, TypeError)):
        ClassEvidence.from_parts(document, tables)


@pytest.mark.parametrize(
    ("between", "within"),
    [(-1e-4, 1e-2), (1e-4, -1e-2), (0.0, 1e-2), (1e-300, 1e-2), (1e-4, 1e300), (1e-4, float("nan"))],
)
def test_what_has_no_cholesky_factor_is_no_covariance(between: float, within: float) -> None:
    rows, labels, targets = _sample(20)
    document, tables = ClassEvidence().fit(rows, labels, targets).to_parts()
    one = np.eye(len(tables["class_scales_between"]))

    def read(between: float, within: float) -> None:
        ClassEvidence.from_parts(
            document, tables | {"class_scales_between": between * one, "class_scales_within": within * one}
        )

    read(1e-4, 1e-2)
    read(1e-4, 0.0)
    with pytest.raises(ValueError, match=r"no covariance|not finite"):
        read(between, within)


def test_too_few_networks_give_no_evidence_instead_of_leaking() -> None:
    rows, labels, targets = _sample(3)
    evidence = ClassEvidence()
    assert evidence.fit_transform(rows[:2], labels[:2], targets[:2]).isna().all(axis=None)
    assert evidence.suspects_ == (None, None)


def test_what_does_not_fit_is_refused() -> None:
    rows, labels, targets = _sample(4)
    with pytest.raises(ValueError, match="does not fit a network"):
        ClassEvidence().fit(rows, labels, [None, Target(CLASSES), None, None])
    with pytest.raises(ValueError, match="clean network has a target"):
        ClassEvidence().fit(rows, labels, [Target(0), *targets[1:]])
    with pytest.raises(ValueError, match="targets"):
        ClassEvidence().fit(rows, labels, targets[1:])
    with pytest.raises(AttributeError, match="not fitted"):
        ClassEvidence().transform(rows)


def test_pipeline_gives_the_inner_detector_out_of_fold_columns() -> None:
    rows, labels, targets = _sample()
    names = [f"n{i}" for i in range(len(rows))]
    seen: list[pd.DataFrame] = []

    class Recorder:
        def fit(self, X: pd.DataFrame, y: np.ndarray, **places: object) -> None:
            seen.append(X)

        def predict_proba(self, X: pd.DataFrame, **places: object) -> np.ndarray:
            seen.append(X)
            return np.full((len(X), 2), 0.5)

    table = pd.DataFrame({"own": np.arange(len(rows), dtype=float)}, index=names)
    outer = WithClassEvidence(
        Recorder, dict(zip(names, rows, strict=True)), dict(zip(names, targets, strict=True))
    )
    places = {"architecture": ["a"] * 30, "family": ["a"] * 30}
    outer.fit(table.iloc[:30], labels[:30], **places)
    outer.predict_proba(table.iloc[30:], architecture=["a"] * 10, family=["a"] * 10)
    expected = ClassEvidence()
    trained = expected.fit_transform(rows[:30], labels[:30], targets[:30], names=names[:30])
    pd.testing.assert_frame_equal(seen[0], table.iloc[:30].join(trained))
    pd.testing.assert_frame_equal(seen[1], table.iloc[30:].join(expected.transform(rows[30:], names[30:])))


@given(st.lists(st.floats(-8, 8), min_size=3, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_summary_ignores_the_numbering_of_classes(scores: list[float], random: object) -> None:
    values = np.array(scores)
    rng = np.random.default_rng(len(scores))
    pairs = rng.normal(size=(len(values), len(values)))
    order = rng.permutation(len(values))
    first = summarise(values, pairs)
    second = summarise(values[order], pairs[np.ix_(order, order)])
    tied = len(np.unique(values)) < len(values)
    agreement = NAMES.index("classes.agreement")
    np.testing.assert_allclose(np.delete(first, agreement), np.delete(second, agreement), atol=1e-9)
    assert tied or first[agreement] == second[agreement]


def test_noisy_or_is_one_minus_the_product() -> None:
    p = np.array([0.1, 0.5, 0.02])
    any_ = 1 - np.prod(1 - p)
    assert noisy_or(np.log(p / (1 - p))) == pytest.approx(np.log(any_ / (1 - any_)))
    assert noisy_or(np.full(4, 900.0)) == 30
    assert noisy_or(np.full(4, -900.0)) == -30


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"trigger_target_class": "2", "triggered_classes": "[6]"}, Target(2, (6,))),
        ({"trigger_target_class": "2", "triggered_classes": "[0 3]"}, Target(2, (0, 3))),
        ({"trigger_target_class": "1.0", "triggered_classes": "[0 1 2 3]"}, Target(1)),
        ({"trigger_target_class": "4", "triggered_classes": "all"}, Target(4)),
        ({"trigger_target_class": "4"}, Target(4)),
        ({"trigger_target_class": "None", "triggered_classes": "None"}, None),
        ({"trigger_target_class": "-1"}, None),
        ({}, None),
    ],
)
def test_targets_are_read_as_rounds_write_them(row: dict[str, str], expected: Target | None) -> None:
    assert target_of(row) == expected


def test_a_target_the_network_does_not_have_is_refused() -> None:
    made = digest.compute(network_of(plain_cnn(classes=5)), key="0" * 64, device="cpu")
    metadata = pd.DataFrame({"trigger_target_class": ["7", "None"]}, index=["a", "b"])
    with pytest.raises(BadRound, match="class 7 of 5"):
        targets_of(LabelledSet(("a", "b"), (1, 0), (made, made), metadata))


def test_recoveries_count_by_cell() -> None:
    from weightfeat.classmodel import Suspect

    suspects = [Suspect(1, 0, 0.9), Suspect(2, 3, 0.9), Suspect(4, None, 0.9), None, Suspect(0, 0, 0.1)]
    targets = [Target(1, (0,)), Target(2, (1, 4)), Target(0), Target(1), None]
    cells, p = ["one", "two", "all", "all", "none"], [0.9, 0.4, 0.5, 0.9, 0.9]
    found = recoveries(suspects, targets, [5] * 5, cells, p)
    everything = found[0]
    assert (everything.networks, everything.target_hits, everything.paired, everything.source_hits) == (
        3,
        2,
        2,
        1,
    )
    assert everything.chance == pytest.approx(0.6)
    assert (everything.flagged, everything.flagged_hits) == (2, 1)  # the third's suspect is not its target
    assert np.isnan(recoveries(suspects, targets, [5] * 5, cells)[0].flagged)
    assert [r.cell for r in found[1:]] == ["all", "one", "two"]
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert wilson(0, 0) == (0.0, 1.0)
