"""The detector as a whole: finds what is there and nothing else, repeats itself, and uses every metaparameter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detector_samples import FAMILY, RAW, ROOT, Sample, auc, cross_entropy, quick, sample
from weightfeat.detector import Detector
from weightfeat.detector.classifier import fit_forest
from weightfeat.errors import BadLearnedParameters, BadRound
from weightfeat.metaparameters import BLOCK_PREFIX, Metaparameters


def fit(data: Sample, threads: int = 1, groups: list[str] | None = None, **values: object) -> Detector:
    detector = Detector(quick(**values), raw_columns=RAW, threads=threads)
    return detector.fit(data.X, data.y, groups=groups, **data.places)


def proba(detector: Detector, data: Sample) -> np.ndarray:
    return detector.predict_proba(data.X, **data.places)[:, 1]


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


@pytest.mark.parametrize(("side", "weight"), [("logistic_columns", 1.0), ("tree_columns", 0.0)])
def test_the_logistic_regression_and_the_trees_keep_to_their_columns(side: str, weight: float) -> None:
    data = sample(120)
    names = tuple(data.X.columns)
    params = quick(train_logistic_weight=weight, infer_novelty_pull=0.0)
    detector = Detector(params, raw_columns=RAW).set_params(**{side: names[:2]})
    detector.fit(data.X, data.y, **data.places)
    before = proba(detector, data)
    moved = data.X.copy()
    moved[list(names[2:])] += 1.0
    np.testing.assert_array_equal(
        before, proba(detector, Sample(moved, data.y, data.architecture, data.family))
    )
    moved[names[0]] += 1.0
    assert (before != proba(detector, Sample(moved, data.y, data.architecture, data.family))).any()


def test_trees_are_silent_about_an_architecture_they_know_no_network_of() -> None:
    data, unseen = sample(120), ["alexnet"] * 120
    names = tuple(data.X.columns)
    detector = Detector(quick(infer_novelty_pull=0.0), logistic_columns=names[:2], tree_columns=names[2:])
    detector.fit(data.X, data.y, **data.places)
    moved = data.X.copy()
    moved[list(names[2:])] += 3.0
    stranger, moved_stranger = (Sample(x, data.y, unseen, unseen) for x in (data.X, moved))
    known = Sample(moved, data.y, data.architecture, data.family)
    assert (proba(detector, data) != proba(detector, known)).any()
    np.testing.assert_array_equal(proba(detector, stranger), proba(detector, moved_stranger))
    heard = detector.with_inference(detector.params.replace(infer_unseen_trees=1.0))
    assert (proba(heard, stranger) != proba(heard, moved_stranger)).any()


def test_the_logistic_regression_takes_all_columns_where_its_own_are_constant() -> None:
    data = sample(120)
    constant = Sample(data.X.assign(flat=1.0), data.y, data.architecture, data.family)
    some, every = (
        Detector(quick(train_logistic_weight=1.0), logistic_columns=columns).fit(
            constant.X, constant.y, **constant.places
        )
        for columns in (("flat",), None)
    )
    np.testing.assert_array_equal(proba(some, constant), proba(every, constant))


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


def test_a_row_scores_the_same_alone_in_company_and_in_any_form(trained: Detector) -> None:
    new = sample(12, seed=8)
    together = proba(trained, new)
    names, values = tuple(new.X.columns), new.X.to_numpy()
    for i in range(len(new.y)):
        places = {"architecture": [new.architecture[i]], "family": [new.family[i]]}
        row = dict(zip(names, values[i], strict=True))
        forms = (
            new.X.iloc[[i]],
            (names, values[i : i + 1]),
            row,
            dict(reversed(row.items())) | {"more": 1.0},
        )
        for form in forms:
            assert trained.predict_proba(form, **places)[0, 1] == together[i]


def test_infinite_values_count_as_missing(trained: Detector) -> None:
    new = sample(6, seed=9)
    gone, infinite = new.X.copy(), new.X.copy()
    gone.iloc[:, 2], infinite.iloc[:, 2] = np.nan, [np.inf, -np.inf] * 3
    np.testing.assert_array_equal(
        trained.predict_proba(gone, **new.places), trained.predict_proba(infinite, **new.places)
    )


def test_probabilities_are_clipped_and_sum_to_one(trained: Detector) -> None:
    p = trained.predict_proba(sample(100, signal=9.0, seed=1).X, **sample(100, signal=9.0, seed=1).places)
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
    "train_lambda_l1": 1.0,
    "train_lambda_l2": 20.0,
    "train_ensemble_size": 3,
    "train_logistic_c": 0.1,
    "train_logistic_weight": 0.9,
    "train_calibration": "beta",
    "train_calibration_folds": 5,
    "train_seed": 21,
    "infer_clip": 0.2,
    "infer_prior": 0.2,
    "infer_novelty_pull": 0.9,
    "infer_unseen_trees": 0.7,
}


def test_every_parameter_of_the_detectors_own_is_changed_here() -> None:
    """The others, of columns and the search, are changed in test_metaparameters_are_used.py."""
    columns = (BLOCK_PREFIX, "train_class_", "train_logistic_on", "train_trees_see_classes")
    elsewhere = {name for name in Metaparameters.names() if name.startswith(columns)}
    assert set(CHANGES) | elsewhere | {"train_search_trials"} == set(Metaparameters.names())


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
        found = pulled.novelty(new.X, architecture=architecture, family=family)
        assert found.level == (level,) * 20
        assert (found.weight >= least).all()
    unknown = {"architecture": ["unknown"] * 20, "family": ["unknown"] * 20}
    alone = trained.with_inference(params.replace(infer_novelty_pull=0.0))
    p, unmoved = (detector.predict_proba(new.X, **unknown)[:, 1] for detector in (pulled, alone))
    weight = pulled.novelty(new.X, **unknown).weight
    np.testing.assert_allclose(p, (1 - weight) * unmoved + weight * 0.3, rtol=0, atol=params.infer_clip)
    known = pulled.novelty(new.X, **new.places)
    assert known.level == ("architecture",) * 20
    far = pulled.predict_proba(1e6 + new.X.abs(), **new.places)[:, 1]
    np.testing.assert_allclose(far, 0.3)


def test_reasons_name_what_moved_the_score(trained: Detector) -> None:
    new = sample(30, seed=13, missing=0.0)
    found = []
    for i in range(30):
        places = {"architecture": [new.architecture[i]], "family": [new.family[i]]}
        reasons = trained.reasons(new.X.iloc[[i]], 3, **places)
        sizes = [abs(share) for _, share in reasons]
        assert sizes == sorted(sizes, reverse=True)
        assert len(reasons) == 3
        found += [name for name, _ in reasons[:1]]
    assert sum(name in ("f0", "f1") for name in found) > 20
    assert {name for name, _ in trained.reasons(new.X.iloc[[0]], 99)} <= set(new.X.columns)


def test_reasons_sum_to_the_logit_up_to_a_constant(trained: Detector) -> None:
    new = sample(6, seed=14)
    rest = []
    for i in range(6):
        places = {"architecture": [new.architecture[i]], "family": [new.family[i]]}
        total = sum(share for _, share in trained.reasons(new.X.iloc[[i]], 99, **places))
        raw = trained.predict_proba(new.X.iloc[[i]], **places)
        assert np.isfinite(raw).all()
        from weightfeat.detector.learned import as_rows

        rest.append(trained.learned_.logit(as_rows(new.X.iloc[[i]], **places))[0] - total)
    np.testing.assert_allclose(rest, rest[0])


def test_one_class_only() -> None:
    data = sample(10)
    for label in (0, 1):
        with pytest.raises(
            BadRound, match=rf"one class only in the labels \(10 networks, {10 * label} trojaned"
        ):
            Detector(quick()).fit(data.X, [label] * 10, **data.places)


@pytest.mark.parametrize("rows", [2, 3, 5, 12])
@pytest.mark.parametrize("method", ["none", "platt", "beta", "temperature"])
def test_few_rows_are_enough(rows: int, method: str) -> None:
    data = sample(rows, missing=0.0)
    p = proba(fit(data, train_calibration=method), data)
    assert np.isfinite(p).all()
    assert ((p >= 0.01) & (p <= 0.99)).all()


def test_columns_without_content_do_no_harm() -> None:
    data = sample(40)
    data.X["constant"], data.X["empty"], data.X["one"] = 3.0, np.nan, [1.0] + [np.nan] * 39
    assert auc(data.y, proba(fit(data), data)) > 0.85
    blank = data.X[["constant", "empty"]]
    p = Detector(quick()).fit(blank, data.y, **data.places).predict_proba(blank, **data.places)[:, 1]
    np.testing.assert_allclose(p, 0.5, atol=0.05)


def test_trees_alone_and_logistic_alone() -> None:
    data, new = sample(), sample(60, seed=15)
    for weight in (0.0, 1.0):
        assert auc(new.y, proba(fit(data, train_logistic_weight=weight), new)) > 0.8


def test_groups_stay_in_one_fold() -> None:
    data = sample(60)
    groups = [f"g{i // 4}" for i in range(60)]
    fold = fit(data, groups=groups).out_of_fold_.fold
    assert fold is not None
    assert all(len(set(fold[4 * g : 4 * g + 4])) == 1 for g in range(15))


def test_a_feature_that_is_missing_is_named(trained: Detector) -> None:
    with pytest.raises(BadLearnedParameters, match="f7"):
        trained.predict_proba(sample(3).X.drop(columns="f7"), **sample(3).places)


@pytest.mark.parametrize(
    "change",
    [
        {"y": [0, 1, 2] * 4},
        {"y": [0, 1]},
        {"architecture": ["a"]},
        {"X": (["a", "a"], np.ones((12, 2)))},
        {"X": (["a"], np.ones((12, 2)))},
    ],
)
def test_arguments_that_disagree_are_refused(change: dict) -> None:
    given = {"X": (["a", "b"], np.ones((12, 2))), "y": [0, 1] * 6} | change
    with pytest.raises(ValueError, match=r"\d|label|column"):
        Detector(quick()).fit(**given)


def test_an_unfitted_detector_says_so() -> None:
    with pytest.raises(AttributeError, match="not fitted"):
        Detector(quick()).predict_proba(sample(2).X)


def test_it_is_a_scikit_learn_estimator() -> None:
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import cross_val_score

    detector = Detector(quick(), raw_columns=RAW)
    copy = clone(detector).set_params(params__train_num_leaves=3, threads=2)
    assert (copy.params.train_num_leaves, copy.threads, copy.raw_columns) == (3, 2, RAW)
    assert detector.params.train_num_leaves == 4
    assert is_classifier(detector)
    assert set(detector.get_params(deep=False)) == {
        *("params", "raw_columns", "logistic_columns", "log_odds", "tree_columns", "threads")
    }
    with pytest.raises(ValueError, match="unknown parameter nonsense"):
        detector.set_params(nonsense=1)
    data = sample(60, signal=6.0)
    one = np.array(data.architecture) == "resnet18"
    scores = cross_val_score(detector, data.X[one], data.y[one], cv=2, scoring="neg_log_loss")
    assert (scores > -0.69).all()


def test_scoring_imports_numpy_only(trained: Detector, tmp_path: Path) -> None:
    trained.save(tmp_path)
    new = sample(1, seed=16)
    code = f"""
import sys
from pathlib import Path
from weightfeat.detector import Detector
detector = Detector.load(Path({str(tmp_path)!r}))
row = (("f0 f1 f2 f3 f4 f5 f6 f7".split()), [{new.X.fillna(0.0).iloc[0].tolist()}])
places = dict(architecture=["resnet18"], family=["resnet"])
detector.predict_proba(row, **places), detector.novelty(row, **places), detector.reasons(row, 3, **places)
heavy = {{"pandas", "sklearn", "lightgbm", "scipy", "optuna", "torch", "jsonschema"}} & set(sys.modules)
sys.exit(",".join(sorted(heavy)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_bag_is_never_empty() -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 0])
    forest = fit_forest(x, y, quick(train_bagging_fraction=0.1))
    assert np.isfinite(forest.raw(x)).all()
