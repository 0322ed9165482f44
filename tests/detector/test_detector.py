"""The detector as a whole: finds what is there and nothing else, repeats itself, and uses every metaparameter."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detector_samples import FAMILY, ROOT, Sample, auc, cross_entropy, fit, inference, proba, quick, sample
from weightfeat.detector import Detector, Rows, Samples
from weightfeat.detector.growing import fit_forest
from weightfeat.errors import BadLearnedParameters, BadRound
from weightfeat.metaparameters import BLOCK_PREFIX, Metaparameters


@pytest.fixture(scope="module")
def trained() -> Detector:
    return fit(sample())


def test_a_planted_signal_is_found_across_architectures(trained: Detector) -> None:
    new = sample(150, seed=5)
    p = proba(trained, new)
    assert auc(new.y, p) > 0.85
    assert cross_entropy(new.y, p) < 0.5
    for name in FAMILY:
        rows = np.array(new.architecture) == name
        assert auc(new.y[rows], p[rows]) > 0.75


def test_trees_are_silent_beside_odds_about_an_architecture_they_know_no_network_of(
    trained: Detector,
) -> None:
    data = sample(40)
    moved = Sample(data.X + 3.0, data.y, data.architecture, data.family)
    odds, unseen, learned = np.linspace(-3, 3, 40), ["alexnet"] * 40, inference(trained)
    known, other = (learned.logit(one.rows, odds) for one in (data, moved))
    assert (known != other).any()
    stranger, moved_stranger = (Sample(one.X, one.y, unseen, unseen) for one in (data, moved))
    for one in (stranger, moved_stranger):
        np.testing.assert_array_equal(learned.logit(one.rows, odds), odds)
    assert (learned.logit(stranger.rows) != learned.logit(moved_stranger.rows)).any()  # alone, they speak


def test_odds_and_trees_are_mixed_by_their_weights(trained: Detector) -> None:
    data, odds = sample(40), np.linspace(-3, 3, 40)
    odds[5] = np.nan  # too few classes: nothing is added
    learned, weight = inference(trained), trained.params.train_class_weight
    expected = weight * np.nan_to_num(odds) + (1 - weight) * learned.logit(data.rows)
    np.testing.assert_allclose(learned.logit(data.rows, odds), expected, atol=1e-12)


def test_shuffled_labels_teach_nothing() -> None:
    data, new = sample(120), sample(300, seed=6)
    scores = []
    for seed in range(4):
        y = np.random.default_rng(seed).permutation(data.y)
        scores.append(auc(new.y, proba(fit(Sample(data.X, y, data.architecture, data.family)), new)))
    # Standard error of one AUC on 150 + 150 rows is 0.033; four trainings add their own spread.
    assert abs(np.mean(scores) - 0.5) < 0.12


def test_out_of_fold_probabilities_of_noise_say_nothing() -> None:
    data = sample(120, signal=0.0)
    detector = fit(data)
    p = detector.out_of_fold_.probability
    assert p is not None
    assert abs(auc(data.y, p) - 0.5) < 0.15
    assert cross_entropy(data.y, p) < 0.75


def test_out_of_fold_results_are_in_the_caller_s_order() -> None:
    data = sample()
    p = fit(data).out_of_fold_.probability
    assert p is not None
    assert auc(data.y, p) > 0.75


def test_two_runs_and_two_threads_give_the_same_bits() -> None:
    data, new = sample(), sample(30, seed=7)
    results = [proba(fit(data, threads=n), new).tobytes() for n in (1, 1, 2)]
    assert len(set(results)) == 1


def test_the_order_of_training_rows_does_not_matter() -> None:
    data, new = sample(), sample(30, seed=7)
    order = np.random.default_rng(0).permutation(len(data.y))
    one, two = fit(data), fit(data.take(order))
    assert proba(one, new).tobytes() == proba(two, new).tobytes()
    assert one.learned_.training == two.learned_.training
    p, q = one.out_of_fold_.probability, two.out_of_fold_.probability
    assert p is not None
    assert q is not None
    np.testing.assert_array_equal(p[order], q)


def test_last_bits_of_the_features_hardly_matter() -> None:
    """They deal no row out to another fold or bag. (A held-out row at its median may fall on the other side of 0.)"""
    data, new = sample(), sample(30, seed=7)
    noise = 1e-12 * np.random.default_rng(0).normal(size=data.X.shape)
    other = Sample(data.X * (1 + noise), data.y, data.architecture, data.family)
    np.testing.assert_allclose(proba(fit(data), new), proba(fit(other), new), rtol=0, atol=1e-3)


def test_a_row_scores_the_same_alone_in_company_and_among_more_columns(trained: Detector) -> None:
    new = sample(12, seed=8)
    together, names = proba(trained, new), list(new.X.columns)
    for i in range(len(new.y)):
        alone, learned = new.take(np.array([i])).rows, inference(trained)
        more = Rows.of(
            [*reversed(names), "more"],
            np.append(alone.values[0, ::-1], 1.0),
            alone.architecture,
            alone.family,
        )
        for form in (alone, more):
            assert learned.probability(form)[0] == together[i]


def test_infinite_values_count_as_missing(trained: Detector) -> None:
    gone, infinite = sample(6, seed=9), sample(6, seed=9)
    gone.X.iloc[:, 2], infinite.X.iloc[:, 2] = np.nan, [np.inf, -np.inf] * 3
    np.testing.assert_array_equal(proba(trained, gone), proba(trained, infinite))


def test_probabilities_are_clipped_and_sum_to_one(trained: Detector) -> None:
    p = trained.predict_proba(sample(100, signal=9.0, seed=1).samples())
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert p.min() >= trained.params.infer_clip
    tight = trained.with_inference(trained.params.replace(infer_clip=0.3))
    assert proba(tight, sample(100, seed=1)).max() <= 0.7


CHANGES: dict[str, object] = {
    "train_shrinkage": 60.0,
    "train_keep_raw": False,
    "train_num_leaves": 3,
    "train_learning_rate": 0.05,
    "train_num_trees": 12,
    "train_min_child_samples": 9,
    "train_feature_fraction": 0.9,
    "train_bagging_fraction": 0.5,
    "train_lambda_l2": 20.0,
    "train_ensemble_size": 3,
    "train_folds": 5,
    "train_seed": 21,
    "infer_clip": 0.2,
    "infer_prior": 0.2,
    "infer_novelty_pull": 0.9,
}


def test_every_parameter_of_the_detectors_own_is_changed_here() -> None:
    """The others, of columns and the search, are changed in test_metaparameters_are_used.py, and what asking may cost
    in tests/probes."""
    columns = (BLOCK_PREFIX, "train_class_")
    elsewhere = {name for name in Metaparameters.names() if name.startswith(columns)}
    assert set(CHANGES) | elsewhere | {"train_search_trials", "infer_probe"} == set(Metaparameters.names())


@pytest.mark.parametrize("name", CHANGES)
def test_changing_a_metaparameter_changes_the_probabilities(name: str, trained: Detector) -> None:
    new = sample(40, seed=11, signal=4.0)
    stranger = Sample(new.X, new.y, ["alexnet"] * 40, ["alexnet"] * 40)
    value = CHANGES[name]
    assert value != getattr(trained.params, name)
    if name.startswith("infer_"):
        other = trained.with_inference(trained.params.replace(**{name: value}))
        assert other.learned_ is trained.learned_  # no configure needed
    else:
        other = fit(sample(), **{name: value})
    before, after = ([*proba(d, new), *proba(d, stranger)] for d in (trained, other))
    assert not np.allclose(before, after, rtol=0, atol=1e-6)


def test_inference_values_leave_training_values_alone(trained: Detector) -> None:
    other = trained.with_inference(trained.params.replace(infer_prior=0.3, train_num_leaves=50))
    assert other.params == trained.params.replace(infer_prior=0.3)
    assert trained.params.infer_prior == 0.5


def test_strangers_are_reported_and_pulled_to_the_prior(trained: Detector) -> None:
    new = sample(20, seed=12, signal=4.0)
    params = trained.params.replace(infer_novelty_pull=1.0, infer_prior=0.3, infer_clip=1e-4)
    pulled = trained.with_inference(params)
    levels = {
        "family": (["resnet50"] * 20, ["resnet"] * 20, 0.25),
        "pool": (["unknown"] * 20, ["unknown"] * 20, 0.5),
    }
    for level, (architecture, family, least) in levels.items():
        found = inference(pulled).novelty(Sample(new.X, new.y, architecture, family).rows)
        assert found.level == (level,) * 20
        assert (found.weight >= least).all()
    unknown = Sample(new.X, new.y, ["unknown"] * 20, ["unknown"] * 20)
    alone = trained.with_inference(params.replace(infer_novelty_pull=0.0))
    p, unmoved = (proba(detector, unknown) for detector in (pulled, alone))
    weight = inference(pulled).novelty(unknown.rows).weight
    np.testing.assert_allclose(p, (1 - weight) * unmoved + weight * 0.3, rtol=0, atol=params.infer_clip)
    known = inference(pulled).novelty(new.rows)
    assert known.level == ("architecture",) * 20
    far = proba(pulled, Sample(1e6 + new.X.abs(), new.y, new.architecture, new.family))
    np.testing.assert_allclose(far, 0.3)


def test_reasons_name_what_moved_the_score(trained: Detector) -> None:
    new, learned = sample(30, seed=13, missing=0.0), inference(trained)
    found = []
    for i in range(30):
        reasons = learned.reasons(new.take(np.array([i])).rows, 3)
        sizes = [abs(share) for _, share in reasons]
        assert sizes == sorted(sizes, reverse=True)
        assert len(reasons) == 3
        found += [name for name, _ in reasons[:1]]
    assert sum(name in ("f0", "f1") for name in found) > 20
    assert {name for name, _ in learned.reasons(new.take(np.array([0])).rows, 99)} <= set(new.X.columns)


@pytest.mark.parametrize("odds", [None, 1.5])
def test_reasons_sum_to_the_logit_up_to_a_constant(odds: float | None, trained: Detector) -> None:
    new, learned = sample(6, seed=14), inference(trained)
    beside = None if odds is None else np.array([odds])
    rest = []
    for i in range(6):
        rows = new.take(np.array([i])).rows
        reasons = learned.reasons(rows, 99, beside)
        assert ("classes.odds" in dict(reasons)) is (odds is not None)
        rest.append(learned.logit(rows, beside)[0] - sum(share for _, share in reasons))
    np.testing.assert_allclose(rest, rest[0])


def test_one_class_only() -> None:
    data = sample(10)
    for label in (0, 1):
        with pytest.raises(
            BadRound, match=rf"one class only in the labels \(10 networks, {10 * label} trojaned"
        ):
            Detector(quick()).fit(dataclasses.replace(data.samples(), y=np.full(10, label)))


@pytest.mark.parametrize("rows", [2, 3, 5, 12])
def test_few_rows_are_enough(rows: int) -> None:
    data = sample(rows, missing=0.0)
    p = proba(fit(data), data)
    assert np.isfinite(p).all()
    assert ((p >= 0.01) & (p <= 0.99)).all()


def test_columns_without_content_do_no_harm() -> None:
    data = sample(40)
    data.X["constant"], data.X["empty"], data.X["one"] = 3.0, np.nan, [1.0] + [np.nan] * 39
    assert auc(data.y, proba(fit(data), data)) > 0.85
    blank = Sample(data.X[["constant", "empty"]], data.y, data.architecture, data.family)
    p = proba(fit(blank), blank)
    np.testing.assert_allclose(p, 0.5, atol=0.05)


def test_groups_stay_in_one_fold() -> None:
    data = sample(60)
    groups = [f"g{i // 4}" for i in range(60)]
    fold = fit(data, groups=groups).out_of_fold_.fold
    assert fold is not None
    assert all(len(set(fold[4 * g : 4 * g + 4])) == 1 for g in range(15))


def test_a_feature_that_is_missing_is_named(trained: Detector) -> None:
    data = sample(3)
    with pytest.raises(BadLearnedParameters, match="f7"):
        proba(trained, Sample(data.X.drop(columns="f7"), data.y, data.architecture, data.family))


@pytest.mark.parametrize(
    "change",
    [{"y": [0, 1, 2] * 4}, {"y": [0, 1]}, {"names": ["a"]}, {"group": ["a"]}, {"recipe": ["a"]}],
)
def test_samples_that_disagree_are_refused(change: dict) -> None:
    given = {"table": Rows.of(["a", "b"], np.ones((12, 2))), "y": [0, 1] * 6} | change
    with pytest.raises(ValueError, match=r"\d|label"):
        Samples.of_table(**given)


@pytest.mark.parametrize(
    ("names", "architecture"), [(["a", "a"], None), (["a"], None), (["a", "b"], ["only one"])]
)
def test_rows_that_disagree_are_refused(names: list[str], architecture: list[str] | None) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        Rows.of(names, np.ones((12, 2)), architecture)


def test_samples_taken_keep_everything_together() -> None:
    data = sample(12)
    names = [f"n{i}" for i in range(12)]
    whole = dataclasses.replace(data.samples(), names=tuple(names), recipe=tuple("ab" * 6))
    part = whole.take(np.array([7, 2]))
    assert (part.names, part.recipe, part.group) == (("n7", "n2"), ("b", "a"), ("7", "2"))
    assert part.architecture == (data.architecture[7], data.architecture[2])
    np.testing.assert_array_equal(part.y, data.y[[7, 2]])
    np.testing.assert_array_equal(part.rows(()).values, whole.rows(()).values[[7, 2]])


def test_an_unfitted_detector_says_so() -> None:
    with pytest.raises(AttributeError, match="not fitted"):
        proba(Detector(quick()), sample(2))


def test_scoring_imports_numpy_only(trained: Detector, tmp_path: Path) -> None:
    trained.save(tmp_path)
    new = sample(1, seed=16)
    code = f"""
import sys
from pathlib import Path
from weightfeat.detector import Detector, Rows
learned = Detector.load(Path({str(tmp_path)!r}))._inference()
row = Rows.of("f0 f1 f2 f3 f4 f5 f6 f7".split(), [{new.X.fillna(0.0).iloc[0].tolist()}], ["resnet18"], ["resnet"])
learned.probability(row), learned.novelty(row), learned.reasons(row, 3), learned.interval(row)
heavy = {{"pandas", "sklearn", "lightgbm", "scipy", "optuna", "torch", "jsonschema"}} & set(sys.modules)
sys.exit(",".join(sorted(heavy)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bag_is_never_empty() -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])
    forest = fit_forest(x, y, quick(train_bagging_fraction=0.1))
    assert np.isfinite(forest.raw(x)).all()
