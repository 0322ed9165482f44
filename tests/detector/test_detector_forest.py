"""The numpy evaluator of LightGBM's trees equals LightGBM itself, and refuses arrays that are no trees."""

from __future__ import annotations

from collections.abc import Callable

import lightgbm
import numpy as np
import pytest

from weightfeat.detector.forest import Forest
from weightfeat.detector.growing import taken_over

COLUMNS = 6
MISSING = {"nan": {}, "none": {"use_missing": False}, "zero": {"zero_as_missing": True}}


def data(rows: int = 150, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, COLUMNS))
    x[rng.random(x.shape) < 0.15] = np.nan
    x[rng.random(x.shape) < 0.15] = 0.0
    x[rng.random(x.shape) < 0.02] = 1e-36
    y = (np.nan_to_num(x[:, 0], nan=2.0) + np.nan_to_num(x[:, 1]) + rng.normal(size=rows) > 0.3).astype(int)
    return x, y


def train(seed: int = 0, trees: int = 20, **settings: object) -> lightgbm.Booster:
    x, y = data(seed=seed)
    params = {
        "objective": "binary",
        "num_leaves": 7,
        "min_data_in_leaf": 5,
        "verbosity": -1,
        "num_threads": 1,
    }
    return lightgbm.train(params | settings, lightgbm.Dataset(x, label=y, params=settings), trees)


def forest_of(*boosters: lightgbm.Booster) -> Forest:
    return taken_over([booster.dump_model() for booster in boosters], COLUMNS)


@pytest.mark.parametrize("kind", MISSING)
def test_equals_lightgbm(kind: str) -> None:
    booster = train(**MISSING[kind])
    x = data(400, seed=9)[0]
    x[0], x[1] = np.nan, 0.0
    ours = forest_of(booster).raw(x)
    np.testing.assert_allclose(ours, booster.predict(x, raw_score=True), rtol=0, atol=1e-12)


def test_several_models() -> None:
    boosters = [train(seed) for seed in range(3)]
    x = data(50, seed=9)[0]
    forest = forest_of(*boosters)
    expected = np.column_stack([booster.predict(x, raw_score=True) for booster in boosters])
    np.testing.assert_allclose(forest.raw_by_bag(x), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(forest.raw(x), expected.mean(axis=1), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(forest_of(boosters[0]).raw_by_bag(x)[:, 0], forest.raw_by_bag(x)[:, 0])


def test_stored_and_read_again_it_says_the_same_bits() -> None:
    forest, x = forest_of(train(), train(1)), data(50, seed=9)[0]
    again = Forest.of_tables(forest.tables(), COLUMNS)
    np.testing.assert_array_equal(again.raw_by_bag(x), forest.raw_by_bag(x))
    np.testing.assert_array_equal(again.contributions(x[0]), forest.contributions(x[0]))


def test_a_row_is_scored_the_same_alone_and_in_company() -> None:
    forest = forest_of(train())
    x = data(30, seed=9)[0]
    np.testing.assert_array_equal(np.concatenate([forest.raw(row[None]) for row in x]), forest.raw(x))


def test_models_that_never_split_and_no_models_at_all() -> None:
    booster = train(min_data_in_leaf=100)
    x = data(5, seed=9)[0]
    forest = forest_of(booster)
    np.testing.assert_allclose(forest.raw(x), booster.predict(x, raw_score=True), atol=1e-12)
    assert (forest.contributions(x[0]) == 0).all()
    assert (forest_of().raw(x) == 0).all()


def test_splits_on_missingness_alone() -> None:
    x, _ = data()
    y = np.isnan(x[:, 2]).astype(int)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(x, label=y), 5)
    forest = forest_of(booster)
    assert np.isinf(forest.threshold).any()
    np.testing.assert_allclose(forest.raw(x), booster.predict(x, raw_score=True), atol=1e-12)


def test_contributions_sum_to_the_score_less_the_mean() -> None:
    x, _y = data()
    forest = forest_of(*(train(seed) for seed in range(2)))
    base = forest.raw(x[:1])[0] - forest.contributions(x[0]).sum()
    for row in x[:20]:
        assert forest.raw(row[None])[0] - forest.contributions(row).sum() == pytest.approx(base)
    # Column 0 makes the label: it must be credited more than one that says nothing.
    credit = np.mean([np.abs(forest.contributions(row)) for row in x], axis=0)
    assert credit[0] > 5 * credit[4]


Tables = dict[str, np.ndarray]


def changed(name: str, at: object, value: object) -> Callable[[Tables], None]:
    def change(tables: Tables) -> None:
        tables[name][at] = value

    return change


def cut(name: str) -> Callable[[Tables], None]:
    return lambda tables: tables.update({name: tables[name][:-1]})


def retyped(name: str, kind: type) -> Callable[[Tables], None]:
    return lambda tables: tables.update({name: tables[name].astype(kind)})


ATTACKS: dict[str, Callable[[Tables], object]] = {
    "a feature out of range": changed("feature", 0, COLUMNS),
    "a negative feature": changed("feature", 0, -1),
    "a child beyond the nodes": changed("children", (0, 0), 10**6),
    "a leaf beyond the leaves": changed("children", (0, 1), -(10**6)),
    "a root beyond the nodes": changed("root", 0, 10**6),
    "a loop": changed("children", (1, 0), 0),
    "a node that is its own child": changed("children", (1, 0), 1),
    "a leaf twice": changed("children", (-1, slice(None)), -1),
    "a tree twice": lambda t: changed("root", 1, t["root"][0])(t),
    "a tree missing": cut("root"),
    "a model missing": changed("bag", slice(None), 1),
    "a negative model": changed("bag", 0, -1),
    "an unknown kind of missing value": changed("missing", 0, 3),
    "too few thresholds": cut("threshold"),
    "too few leaves": cut("leaf_value"),
    "children of one side": lambda t: t.update(children=t["children"][:, :1]),
    "a threshold that is no number": changed("threshold", 0, np.nan),
    "an infinite leaf": changed("leaf_value", 0, np.inf),
    "a count that is no number": changed("leaf_count", 0, np.nan),
    "numbers of another kind": retyped("feature", np.float64),
    "words for numbers": retyped("leaf_value", np.str_),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_forged_arrays_are_refused(attack: str) -> None:
    tables = {name: array.copy() for name, array in forest_of(train()).tables().items()}
    assert len(tables["feature"]) > 2
    ATTACKS[attack](tables)
    with pytest.raises(ValueError, match=r"\w"):
        Forest.of_tables(tables, COLUMNS)


@pytest.mark.parametrize("objective", ["regression", "cross_entropy"])
def test_models_of_another_kind_are_refused(objective: str) -> None:
    with pytest.raises(ValueError, match="not a boosted binary one"):
        forest_of(train(objective=objective))


def test_categorical_splits_are_refused() -> None:
    x, _ = data()
    x[:, 0] = np.arange(len(x)) % 5
    y = np.isin(x[:, 0], (1, 3)).astype(int)
    binned = lightgbm.Dataset(x, label=y, categorical_feature=[0])
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "min_data_per_group": 1}, binned, 3)
    with pytest.raises(ValueError, match="not numerical"):
        forest_of(booster)
