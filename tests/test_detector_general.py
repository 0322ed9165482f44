"""The general model: what it reads, what it learns from several origins, and what it says of the next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from weightfeat.detector.classes.rows import CLASS_COLUMNS, ClassRows
from weightfeat.detector.general import learning, storage
from weightfeat.detector.general.learning import balanced, fit_general
from weightfeat.detector.general.numbers import NAMES, TOGETHER, loudest, numbers, within
from weightfeat.detector.kinds import ALL, Kind, measured_kind
from weightfeat.detector.words import word_of

AT = [CLASS_COLUMNS.index(name) for name in TOGETHER]


def _rows(
    random: np.random.Generator, target: int | None, classes: int = 10, scale: float = 1.0
) -> ClassRows:
    """Classes that differ by chance, and a target that stands out in what stands out everywhere."""
    values = random.normal(size=(classes, len(CLASS_COLUMNS)))
    if target is not None:
        values[target, AT] += 4
    return ClassRows(
        "unknown", "unknown", False, scale * values, np.ones(len(CLASS_COLUMNS)), cast(Any, None)
    )


def _samples(count: int, origins: tuple[str, ...], seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    y = np.arange(count) % 2
    rows = [_rows(random, int(random.integers(10)) if label else None) for label in y]
    recipe = tuple(origins[i // 2 % len(origins)] for i in range(count))

    def take(at: Any) -> Any:
        chosen = [int(i) for i in at]
        return _Fake([rows[i] for i in chosen], y[chosen], tuple(recipe[i] for i in chosen))

    return take(np.arange(count))


class _Fake(SimpleNamespace):
    """As much of samples as the general model asks of them."""

    def __init__(self, rows: list[ClassRows], y: np.ndarray, recipe: tuple[str, ...]) -> None:
        names = tuple(map(str, range(len(y))))
        super().__init__(class_rows=tuple(rows), y=y, recipe=recipe, names=names, group=names)
        self.architecture = ("unknown",) * len(y)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, at: Any) -> _Fake:
        chosen = [int(i) for i in at]
        return _Fake(
            [self.class_rows[i] for i in chosen], self.y[chosen], tuple(self.recipe[i] for i in chosen)
        )


def test_numbers_know_neither_the_order_of_classes_nor_their_unit() -> None:
    rows = _rows(np.random.default_rng(0), 3)
    shuffled = ClassRows(
        "unknown", "unknown", False, 7.0 * rows.classes[::-1] + 2.0, rows.class_scale, cast(Any, None)
    )
    assert numbers(rows) == pytest.approx(numbers(shuffled))
    assert loudest(rows) == 3
    assert loudest(shuffled) == 6
    assert len(numbers(rows)) == len(NAMES)


def test_a_column_that_all_classes_share_says_nothing() -> None:
    assert (within(np.full((5, 2), 3.0)) == 0).all()
    assert np.isnan(numbers(_rows(np.random.default_rng(0), None, classes=2))).all()


def test_few_networks_count_little_and_both_labels_alike() -> None:
    samples = _samples(240, ("a", "a", "a", "a", "a", "a", "a", "a", "a", "b"))
    weight = balanced(samples)
    of = {name: weight[[origin == name for origin in samples.recipe]].sum() for name in ("a", "b")}
    assert weight.sum() == pytest.approx(240)
    assert of["a"] / of["b"] == pytest.approx((216 / 276) / (24 / 84))
    assert weight[samples.y == 1].sum() == pytest.approx(120)


def test_a_trojan_of_an_origin_left_out_is_found_and_the_promise_to_clean_ones_kept() -> None:
    general = fit_general(_samples(600, ("", "a", "b")), 5, 0)
    assert general is not None
    fresh = _samples(400, ("c",), seed=1)
    logits = np.array([general.logit(rows) for rows in fresh.class_rows])
    assert measured_kind(logits, fresh.y).roc_auc > 0.95
    kind = general.kinds[ALL]
    shares = np.array([kind.clean_share(logit) for logit in logits[fresh.y == 0]])
    assert 0.01 < (shares <= 0.05).mean() < 0.1
    assert general.suspect(fresh.class_rows[1]) == loudest(fresh.class_rows[1])


def test_an_origin_is_judged_by_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, seen = _samples(600, ("", "a", "b")), []
    fit = learning._fit
    monkeypatch.setattr(learning, "_fit", lambda train: seen.append(set(train.recipe)) or fit(train))
    fit_general(samples, 5, 0)
    assert [each for each in seen if len(each) == 2] == [{"a", "b"}, {"", "b"}, {"", "a"}]


def test_one_origin_alone_is_learned_from_in_ordinary_folds_and_doubted() -> None:
    general = fit_general(_samples(80, ("",)), 5, 0)
    assert general is not None
    assert general.doubt == learning.UNKNOWN_DOUBT
    assert len(general.kinds[ALL].clean) == 40


def test_it_is_stored_and_refused_where_a_value_is_out_of_bounds() -> None:
    general = fit_general(_samples(200, ("", "a")), 5, 0)
    assert general is not None
    document, tables = storage.to_document(general), storage.to_tables(general)
    again = storage.from_parts(document, tables)
    rows = _rows(np.random.default_rng(5), 2)
    assert again.logit(rows) == general.logit(rows)
    for name, kind in general.kinds.items():
        assert again.kinds[name].clean.tolist() == kind.clean.tolist() == sorted(kind.clean)
        assert again.kinds[name].trojaned.tolist() == kind.trojaned.tolist() == sorted(kind.trojaned)
    assert len(general.kinds[ALL].clean) + len(general.kinds[ALL].trojaned) == 200
    wrong: dict[str, Any] = {
        "numbers": [],
        "kinds": ["normed"],
        "roc_auc": [],
        "doubt": -1.0,
        "intercept": float("nan"),
    }
    for name, value in wrong.items():
        with pytest.raises((ValueError, KeyError, TypeError)):
            storage.from_parts(document | {name: value}, tables)
    with pytest.raises(ValueError, match="coefficient"):
        storage.from_parts(document, tables | {"coefficient": np.zeros(3)})


def test_a_share_of_clean_ones_is_never_none_and_falls_with_suspicion() -> None:
    kind = Kind(np.arange(19.0), 0.8)
    assert kind.clean_share(100.0) == pytest.approx(0.05)
    assert kind.clean_share(-1.0) == 1.0
    assert kind.clean_share(18.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("probability", "share", "power", "clean", "word"),
    [
        (0.9, 0.04, 0.8, 100, "trojaned"),
        (0.4, 0.04, 0.8, 100, "suspicious"),
        (0.9, 0.15, 0.8, 100, "suspicious"),
        (0.1, 0.6, 0.8, 100, "no sign found"),
        (0.9, 0.04, 0.55, 100, "cannot tell"),
        (0.9, 0.06, 0.8, 10, "cannot tell"),
    ],
)
def test_words(probability: float, share: float, power: float, clean: int, word: str) -> None:
    assert word_of(probability, share, power, clean) == word
