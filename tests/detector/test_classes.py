"""Class evidence: its rows, its promise not to leak, and its storage."""

from __future__ import annotations

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch

from class_samples import CLASSES, class_sample, samples_of
from detector_samples import quick
from networks import network_of, permute_cnn, plain_cnn, randomise_norms
from weightfeat import digest
from weightfeat.detector import Suspect, Target
from weightfeat.detector.classes import pairs as pairs_module
from weightfeat.detector.classes import storage
from weightfeat.detector.classes.models import (
    ClassModels,
    _pair_examples,
    families_of,
    fit_class_models,
    fit_target_model,
)
from weightfeat.detector.classes.pairs import PAIR_COLUMNS, spread_targets
from weightfeat.detector.classes.rows import CLASS_COLUMNS, ClassRows, class_rows, full_pair_scale
from weightfeat.detector.training import _learn_classes
from weightfeat.evaluation.naming import recoveries, wilson
from weightfeat.execution.vision import build_network

PARAMS = quick()


def learned(*known: object, **values: object) -> ClassModels:
    models = fit_class_models(samples_of(*known), PARAMS.replace(**values))
    assert models is not None
    return models


@pytest.fixture(scope="module")
def of_twenty() -> ClassModels:
    """Learned from twenty networks; never changed by a test."""
    return learned(*class_sample(20))


@pytest.fixture(scope="module")
def with_members() -> ClassModels:
    """The same, with a member for each fold."""
    models, _ = _learn_classes(samples_of(*class_sample(20)), PARAMS)
    assert models is not None
    return models


def out_of_fold_odds(*known: object, **values: object) -> np.ndarray:
    """What `Detector.fit` weighs beside its trees."""
    odds = _learn_classes(samples_of(*known), PARAMS.replace(**values))[1]
    assert odds is not None
    return odds


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
    pairs = every_pair(plain)
    assert pairs.shape == (7, 7, len(PAIR_COLUMNS))
    assert np.isfinite(plain.classes).all()
    assert np.isfinite(pairs).all()
    _assert_same(moved, plain, 2e-2)
    assert not pairs[np.eye(7, dtype=bool)].any()


def test_rows_follow_a_permutation_of_the_classes() -> None:
    model = plain_cnn(seed=5)
    before = class_rows(digest.compute(network_of(model), key="0" * 64, device="cpu"))
    order = np.random.default_rng(0).permutation(7)
    model.fc.weight.data, model.fc.bias.data = model.fc.weight.data[order], model.fc.bias.data[order]
    after = class_rows(digest.compute(network_of(model), key="0" * 64, device="cpu"))
    _assert_same(after, before, 1e-3, order)


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


def every_pair(rows: ClassRows) -> np.ndarray:
    return rows.pair_rows(list(range(rows.count)))


def _assert_same(
    found: ClassRows, expected: ClassRows, tolerance: float, order: np.ndarray | None = None
) -> None:
    """Within `tolerance` of the columns' own scales; `order` says which class of `expected` stands where."""
    order = np.arange(expected.count) if order is None else order
    both = (
        (found.classes, expected.classes[order]),
        (every_pair(found), every_pair(expected)[np.ix_(order, order)]),
    )
    scales = expected.class_scale, full_pair_scale(expected.pairs.scale, expected.class_scale)
    for (one, other), scale in zip(both, scales, strict=True):
        assert (np.abs(one - other) <= tolerance * scale + 1e-12).all()
    np.testing.assert_allclose(found.class_scale, expected.class_scale, rtol=tolerance)
    np.testing.assert_allclose(found.pairs.scale, expected.pairs.scale, rtol=tolerance)


def test_one_targets_pairs_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = class_sample(1)[0][0]
    for target in range(CLASSES):
        np.testing.assert_array_equal(rows.pair_rows([target])[0], every_pair(rows)[target])
    assert spread_targets(CLASSES) == list(range(CLASSES))
    monkeypatch.setattr(pairs_module, "MOST_PAIRS", 2 * CLASSES)
    assert spread_targets(CLASSES) == [0, CLASSES - 1]
    assert rows.learned_pairs.shape == (2, CLASSES, len(PAIR_COLUMNS))


def test_of_many_classes_few_pairs_are_learned_from_the_trojans_own_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(spread_targets(2048)) * 2048 <= pairs_module.MOST_PAIRS
    monkeypatch.setattr(pairs_module, "MOST_PAIRS", 2 * CLASSES)
    models = learned(*class_sample())
    new, _, truth = class_sample(30, seed=1)
    named = [
        (models.evidence(rows).suspect, target) for rows, target in zip(new, truth, strict=True) if target
    ]
    assert np.mean([suspect.source in target.sources for suspect, target in named]) >= 0.6


def test_out_of_fold_evidence_does_not_know_its_own_label() -> None:
    """Changing what is said of one network leaves its own odds untouched, and moves others'."""
    rows, labels, targets = class_sample()
    whole = out_of_fold_odds(rows, labels, targets)
    at = int(np.flatnonzero(labels)[3])
    assert targets[at] is not None
    moved = list(targets)
    moved[at] = Target((targets[at].target + 1) % CLASSES, targets[at].sources and (targets[at].target,))
    other = out_of_fold_odds(rows, labels, moved)
    assert whole[at] == other[at]
    assert (np.delete(whole, at) != np.delete(other, at)).any()


def test_groups_stay_together() -> None:
    """A network's twin must not teach its label: in one group the twins' targets change nothing for either."""
    rows, labels, targets = class_sample()
    pair = [int(i) for i in np.flatnonzero(labels)[:2]]
    groups = [f"g{i}" for i in range(len(rows))]
    groups[pair[1]] = groups[pair[0]]
    moved = list(targets)
    for i in pair:
        assert targets[i] is not None
        moved[i] = Target((targets[i].target + 1) % CLASSES)
        targets[i] = Target(targets[i].target)
    first = out_of_fold_odds(rows, labels, targets, groups)
    second = out_of_fold_odds(rows, labels, moved, groups)
    np.testing.assert_array_equal(first[pair], second[pair])


def test_without_signal_training_rows_do_not_separate() -> None:
    """Rows a model was fitted on would: that is the leak the folds prevent."""
    honest, leaking = [], []
    for seed in range(6):
        rows, labels, targets = class_sample(24, strength=0.0, seed=seed)
        models = learned(rows, labels, targets, train_class_c=1000.0)
        odds = out_of_fold_odds(rows, labels, targets, train_class_c=1000.0), models.odds(rows)
        for v, areas in zip(odds, (honest, leaking), strict=True):
            areas.append((v[labels == 1][:, None] > v[labels == 0][None, :]).mean())
    assert np.mean(leaking) > 0.9
    assert 0.3 < np.mean(honest) < 0.7


def test_signal_is_found_out_of_fold_and_on_new_networks() -> None:
    rows, labels, targets = class_sample()
    honest = out_of_fold_odds(rows, labels, targets)
    assert (honest[labels == 1][:, None] > honest[labels == 0][None, :]).mean() > 0.8
    models = learned(rows, labels, targets)
    new, y, truth = class_sample(30, seed=1)
    suspects = [models.evidence(network).suspect for network in new]
    named = [(s, t) for s, t in zip(suspects, truth, strict=True) if t is not None]
    assert np.mean([s.target == t.target for s, t in named]) >= 0.8
    assert np.mean([s.source in t.sources for s, t in named]) >= 0.6
    odds = models.odds(new)
    assert (odds[y == 1][:, None] > odds[y == 0][None, :]).mean() > 0.8


def _again(models: ClassModels) -> ClassModels:
    document = json.loads(json.dumps(storage.to_document(models)))
    return storage.from_parts(document, storage.to_tables(models), models.scales.classes)


def test_made_again_from_its_parts_it_says_the_same() -> None:
    rows, labels, targets = class_sample()
    models = learned(rows, labels, targets, train_class_c=2.0)
    again = _again(models)
    assert [again.evidence(network) for network in rows] == [models.evidence(network) for network in rows]
    assert [again.evidence(network).odds for network in rows] == models.odds(rows).tolist()


def test_members_are_the_models_of_the_folds_and_are_kept() -> None:
    rows, labels, targets = class_sample()
    assert learned(rows, labels, targets).members == ()
    models, _ = _learn_classes(samples_of(rows, labels, targets), PARAMS.replace(train_folds=4))
    assert models is not None
    odds = np.array([models.evidence(row).member_odds for row in rows])
    assert odds.shape == (len(rows), 4)
    assert [list(_again(models).evidence(row).member_odds) for row in rows] == odds.tolist()
    assert (odds.std(axis=1) > 1e-3).all()
    assert np.corrcoef(odds.mean(axis=1), models.odds(rows))[0, 1] > 0.95


def test_a_pair_model_that_could_not_be_learned_is_kept_as_absent() -> None:
    rows, labels, targets = class_sample()
    again = _again(learned(rows, labels, [Target(t.target) if t else None for t in targets]))
    assert again.pair is None
    assert again.evidence(rows[0]).suspect.source is None
    assert np.isfinite(again.evidence(rows[0]).odds)


def test_of_two_classes_there_is_a_suspect_and_no_odds(with_members: ClassModels) -> None:
    rows, models = class_sample()[0], with_members
    two = dataclasses.replace(rows[0], classes=rows[0].classes[:2], pairs=pairs_of_two())
    found = models.evidence(two)
    assert np.isnan(found.odds)
    assert found.member_odds == ()
    assert found.suspect.target in (0, 1)


def pairs_of_two() -> pairs_module.Pairs:
    from class_samples import noise_pairs

    return noise_pairs(np.random.default_rng(0), 2)


def test_nothing_is_learned_where_no_target_is_named() -> None:
    rows, labels, _ = class_sample(8)
    assert fit_class_models(samples_of(rows, labels, [None] * 8), PARAMS) is None
    assert _learn_classes(samples_of(rows, labels, [None] * 8), PARAMS) == (None, None)


def test_one_of_the_families_that_no_network_is_of_has_coefficients_of_zero() -> None:
    samples = samples_of(*class_sample(20))
    assert families_of(samples) == ("f",)
    models = fit_target_model(samples, PARAMS, ("f", "g"))
    assert models is not None
    assert models.target.own[2].any()
    assert not models.target.own[3].any()


@pytest.mark.parametrize(
    "damage", ["columns", "nan", "shape", "scales", "architectures", "families", "members", "pair"]
)
def test_damaged_parts_are_refused(damage: str, with_members: ClassModels) -> None:
    models = with_members
    document, tables = copy.deepcopy(storage.to_document(models)), copy.deepcopy(storage.to_tables(models))
    if damage == "members":
        document["members"].append(0.0)
    if damage == "columns":
        document["target_columns"][0] = "other"
    if damage == "nan":
        tables["pair_coefficient"] = tables["pair_coefficient"] * np.nan
    if damage == "shape":
        tables["target_scale"] = tables["target_scale"][:-1]
    if damage == "scales":
        tables["scales_total"] = tables["scales_total"] * 1e6 + 1e6
    if damage == "architectures":
        document["architectures"] = ["a", "b"]
    if damage == "families":
        document["families"] = []
    if damage == "pair":
        document["pair"] = "one"
    with pytest.raises((ValueError, KeyError, TypeError)):
        storage.from_parts(document, tables, 90.0)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e300, "90", None])
def test_settings_out_of_all_measure_are_refused(value: object, of_twenty: ClassModels) -> None:
    with pytest.raises((ValueError, TypeError)):
        storage.from_parts(storage.to_document(of_twenty), storage.to_tables(of_twenty), value)


@pytest.mark.parametrize(
    ("between", "within"),
    [(-1e-4, 1e-2), (1e-4, -1e-2), (0.0, 1e-2), (1e-300, 1e-2), (1e-4, 1e300), (1e-4, float("nan"))],
)
def test_what_has_no_cholesky_factor_is_no_covariance(
    between: float, within: float, of_twenty: ClassModels
) -> None:
    document, tables = storage.to_document(of_twenty), storage.to_tables(of_twenty)
    one = np.eye(len(tables["scales_between"]))

    def read(between: float, within: float) -> None:
        changed = {"scales_between": between * one, "scales_within": within * one}
        storage.from_parts(document, tables | changed, 90.0)

    read(1e-4, 1e-2)
    read(1e-4, 0.0)
    with pytest.raises(ValueError, match=r"no covariance|out of bounds"):
        read(between, within)


def test_too_few_networks_give_no_evidence_instead_of_leaking() -> None:
    rows, labels, targets = class_sample(3)
    assert np.isnan(out_of_fold_odds(rows[:2], labels[:2], targets[:2])).all()


def test_what_does_not_fit_is_refused() -> None:
    rows, labels, targets = class_sample(4)
    with pytest.raises(ValueError, match="does not fit a network"):
        samples_of(rows, labels, [None, Target(CLASSES), None, None])
    with pytest.raises(ValueError, match="clean network has a target"):
        samples_of(rows, labels, [Target(0), *targets[1:]])
    with pytest.raises(ValueError, match="targets"):
        samples_of(rows, labels, targets[1:])


def test_a_recovery_of_several_targets_is_any_of_them() -> None:
    target = Target(1, (0,), (Target(4, (2,)),))
    suspects = [Suspect(1, 0, 0.9), Suspect(4, 2, 0.9), Suspect(4, 0, 0.9), Suspect(2, 0, 0.9)]
    everything, _ = recoveries(suspects, [target] * 4, [8] * 4, ["one"] * 4)
    assert (everything.target_hits, everything.source_hits, everything.paired) == (3, 2, 4)
    assert everything.chance == pytest.approx(4 * 2 / 8)


def test_every_target_of_a_network_is_learned_from() -> None:
    """The second of two triggers shows in other columns than the first, and is named where it alone is there."""
    rng = np.random.default_rng(0)
    rows, labels, targets = class_sample(60, seed=1)
    for at, target in enumerate(targets):
        if target is not None:
            free = [c for c in range(CLASSES) if c not in (target.target, *target.sources)]
            second, source = (int(c) for c in rng.choice(free, 2, replace=False))
            rows[at].classes[second, 3:6] += 6.0
            targets[at] = Target(target.target, target.sources, (Target(second, (source,)),))
            _, marked = _pair_examples(rows[at], np.ones(len(PAIR_COLUMNS)), targets[at])
            assert marked.sum() == 2
    both = learned(rows, labels, targets)
    first = learned(rows, labels, [t and Target(t.target, t.sources) for t in targets])
    new, _, known = class_sample(40, seed=2)
    other = [row for row, target in zip(new, known, strict=True) if target is None]
    for row in other:
        row.classes[0, 3:6] += 6.0
    shares = [np.mean([m.evidence(row).suspect.target == 0 for row in other]) for m in (both, first)]
    assert shares[0] > 0.8 > 0.4 > shares[1]


def test_recoveries_count_by_cell() -> None:
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
