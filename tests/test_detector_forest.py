"""The numpy evaluator of LightGBM's text equals LightGBM itself, and refuses text that LightGBM would not write."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest

from weightfeat.detector.forest import parse_forest

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


def train(seed: int = 0, trees: int = 20, **settings: object) -> tuple[lightgbm.Booster, str]:
    x, y = data(seed=seed)
    params = {
        "objective": "binary",
        "num_leaves": 7,
        "min_data_in_leaf": 5,
        "verbosity": -1,
        "num_threads": 1,
    }
    booster = lightgbm.train(params | settings, lightgbm.Dataset(x, label=y, params=settings), trees)
    return booster, booster.model_to_string().partition("\nend of trees")[0] + "\nend of trees\n\n"


@pytest.mark.parametrize("kind", MISSING)
def test_equals_lightgbm(kind: str) -> None:
    booster, text = train(**MISSING[kind])
    x = data(400, seed=9)[0]
    x[0], x[1] = np.nan, 0.0
    ours = parse_forest(text, COLUMNS).raw(x)
    np.testing.assert_allclose(ours, booster.predict(x, raw_score=True), rtol=0, atol=1e-12)


def test_the_whole_text_and_several_models() -> None:
    boosters, texts = zip(*(train(seed) for seed in range(3)), strict=True)
    x = data(50, seed=9)[0]
    forest = parse_forest("".join(texts), COLUMNS)
    expected = np.column_stack([booster.predict(x, raw_score=True) for booster in boosters])
    np.testing.assert_allclose(forest.raw_by_bag(x), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(forest.raw(x), expected.mean(axis=1), rtol=0, atol=1e-12)
    whole = parse_forest(boosters[0].model_to_string(), COLUMNS)
    np.testing.assert_array_equal(whole.raw_by_bag(x)[:, 0], forest.raw_by_bag(x)[:, 0])
    reread = lightgbm.Booster(model_str=texts[0])
    np.testing.assert_array_equal(reread.predict(x), boosters[0].predict(x))


def test_a_row_is_scored_the_same_alone_and_in_company() -> None:
    forest = parse_forest(train()[1], COLUMNS)
    x = data(30, seed=9)[0]
    np.testing.assert_array_equal(np.concatenate([forest.raw(row[None]) for row in x]), forest.raw(x))


def test_models_that_never_split_and_no_models_at_all() -> None:
    booster, text = train(min_data_in_leaf=100)
    x = data(5, seed=9)[0]
    forest = parse_forest(text, COLUMNS)
    np.testing.assert_allclose(forest.raw(x), booster.predict(x, raw_score=True), atol=1e-12)
    assert (forest.contributions(x[0]) == 0).all()
    assert (parse_forest("", COLUMNS).raw(x) == 0).all()


def test_splits_on_missingness_alone() -> None:
    x, _ = data()
    y = np.isnan(x[:, 2]).astype(int)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1}, lightgbm.Dataset(x, label=y), 5)
    text = booster.model_to_string()
    assert "threshold=inf" in text
    np.testing.assert_allclose(
        parse_forest(text, COLUMNS).raw(x), booster.predict(x, raw_score=True), atol=1e-12
    )


def test_contributions_sum_to_the_score_less_the_mean() -> None:
    x, _y = data()
    forest = parse_forest("".join(train(seed)[1] for seed in range(2)), COLUMNS)
    base = forest.raw(x[:1])[0] - forest.contributions(x[0]).sum()
    for row in x[:20]:
        assert forest.raw(row[None])[0] - forest.contributions(row).sum() == pytest.approx(base)
    # Column 0 makes the label: it must be credited more than one that says nothing.
    credit = np.mean([np.abs(forest.contributions(row)) for row in x], axis=0)
    assert credit[0] > 5 * credit[4]


def replaced(text: str, key: str, value: str) -> str:
    """The text with one key's first line changed."""
    start = text.index(f"\n{key}=") + 1
    return text[:start] + f"{key}={value}" + text[text.index("\n", start) :]


def line(text: str, key: str) -> list[str]:
    return text.split(f"\n{key}=", 1)[1].split("\n", 1)[0].split()


def edited(text: str, key: str, at: int, value: str) -> str:
    words = line(text, key)
    words[at] = value
    return replaced(text, key, " ".join(words))


ATTACKS = {
    "a feature out of range": lambda t: edited(t, "split_feature", 0, str(COLUMNS)),
    "a negative feature": lambda t: edited(t, "split_feature", 0, "-1"),
    "a child beyond the nodes": lambda t: edited(t, "left_child", 0, "99"),
    "a leaf beyond the leaves": lambda t: edited(t, "right_child", 0, "-99"),
    "a loop": lambda t: edited(t, "left_child", 1, "0"),
    "a node that is its own child": lambda t: edited(t, "left_child", 1, "1"),
    "a leaf twice": lambda t: edited(edited(t, "left_child", -1, "-1"), "right_child", -1, "-1"),
    "a categorical split": lambda t: edited(t, "decision_type", 0, "1"),
    "an unknown kind of missing value": lambda t: edited(t, "decision_type", 0, "14"),
    "too few thresholds": lambda t: replaced(t, "threshold", "0.5"),
    "a threshold that is no number": lambda t: edited(t, "threshold", 0, "nan"),
    "an infinite leaf": lambda t: edited(t, "leaf_value", 0, "inf"),
    "words for numbers": lambda t: edited(t, "leaf_value", 0, "many"),
    "a huge number of leaves": lambda t: replaced(t, "num_leaves", "9999999"),
    "no leaves": lambda t: replaced(t, "num_leaves", "0"),
    "negative leaves": lambda t: replaced(t, "num_leaves", "-5"),
    "categories": lambda t: replaced(t, "num_cat", "1"),
    "linear leaves": lambda t: replaced(t, "is_linear", "1"),
    "another width": lambda t: replaced(t, "max_feature_idx", "7"),
    "another objective": lambda t: replaced(t, "objective", "regression"),
    "many classes": lambda t: replaced(t, "num_class", "3"),
    "an average": lambda t: t.replace("\nnum_class", "\naverage_output\nnum_class", 1),
    "a tree missing": lambda t: t[: t.index("\nTree=19")] + "\nend of trees\n",
    "text before": lambda t: "hello\n" + t,
    "cut short": lambda t: t[: len(t) // 2],
    "no header": lambda t: "tree\n",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_forged_text_is_refused(attack: str) -> None:
    _, text = train()
    assert len(line(text, "split_feature")) > 2
    with pytest.raises(ValueError, match=r"\w"):
        parse_forest(ATTACKS[attack](text), COLUMNS)
