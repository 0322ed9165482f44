"""The general model: what it reads, what it learns from several origins, and what it says of the next."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from weightfeat.detector.calibration import Calibration
from weightfeat.detector.classes.rows import CLASS_COLUMNS, ClassRows
from weightfeat.detector.classes.targets import Target
from weightfeat.detector.general import learning, storage
from weightfeat.detector.general.alternatives import NEXT, Likelihood, fit_alternatives
from weightfeat.detector.general.doubt import LEAST_DOUBT, UNKNOWN_DOUBT, doubt_between
from weightfeat.detector.general.learning import balanced, fit_general
from weightfeat.detector.general.model import General
from weightfeat.detector.general.numbers import ANSWER_NUMBERS, NUMBERS, numbers
from weightfeat.detector.general.standing import Standing, standing
from weightfeat.detector.general.statistics import (
    ANSWERED,
    COLUMNS,
    TOGETHER,
    answered,
    clipped,
    loudness,
    table,
)
from weightfeat.detector.kinds import ALL, Kind, measured_kind
from weightfeat.detector.linear import Linear, fit_linear
from weightfeat.detector.samples import Samples
from weightfeat.detector.words import word_of
from weightfeat.features.cycles import CYCLE_COLUMNS
from weightfeat.features.places import PLACE_COLUMNS
from weightfeat.features.probes import PROBE_COLUMNS

AT = [CLASS_COLUMNS.index(name) for name in TOGETHER]


def _rows(
    random: np.random.Generator, target: int | None, classes: int = 10, scale: float = 1.0
) -> ClassRows:
    """Classes that differ by chance, and a target that stands out in what stands out everywhere."""
    values = random.normal(size=(classes, len(CLASS_COLUMNS)))
    if target is not None:
        values[target, AT] += 4
    return _with_places(scale * values, np.zeros((classes, len(PLACE_COLUMNS))))


def _with_places(values: np.ndarray, places: np.ndarray) -> ClassRows:
    one = np.ones(len(CLASS_COLUMNS))
    return ClassRows("unknown", "unknown", False, values, one, cast(Any, None), places)


def _samples(count: int, origins: tuple[str, ...], seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    y = np.arange(count) % 2
    targets = tuple(Target(int(random.integers(10))) if label else None for label in y)
    rows = [_rows(random, None if target is None else target.target) for target in targets]
    recipe = tuple(origins[i // 2 % len(origins)] for i in range(count))

    def take(at: Any) -> Any:
        chosen = [int(i) for i in at]
        return _Fake([(rows[i], targets[i]) for i in chosen], y[chosen], tuple(recipe[i] for i in chosen))

    return take(np.arange(count))


class _Fake(SimpleNamespace):
    """As much of samples as the general model asks of them."""

    def __init__(
        self, networks: list[tuple[ClassRows, Target | None]], y: np.ndarray, recipe: tuple[str, ...]
    ) -> None:
        names = tuple(map(str, range(len(y))))
        rows, targets = (tuple(each) for each in zip(*networks, strict=True))
        super().__init__(class_rows=rows, targets=targets, y=y, recipe=recipe, names=names, group=names)
        self.standings = tuple(standing(each) for each in rows)
        self.levels = ()
        self.architecture = ("unknown",) * len(y)

    def __len__(self) -> int:
        return len(self.y)

    def take(self, at: Any) -> _Fake:
        chosen = [int(i) for i in at]
        networks = [(self.class_rows[i], self.targets[i]) for i in chosen]
        return _Fake(networks, self.y[chosen], tuple(self.recipe[i] for i in chosen))


def test_a_table_knows_neither_the_order_of_classes_nor_their_unit() -> None:
    random = np.random.default_rng(0)
    rows = _with_places(
        random.normal(size=(10, len(CLASS_COLUMNS))), random.normal(size=(10, len(PLACE_COLUMNS)))
    )
    shuffled = _with_places(7.0 * rows.classes[::-1] + 2.0, rows.places[::-1])
    np.testing.assert_allclose(table(shuffled, None)[::-1], table(rows, None), atol=1e-9)
    assert table(rows, None).shape == (10, 2 * len(COLUMNS))


def test_answers_add_up_beyond_the_usual_and_little_changes_count_by_factors() -> None:
    random = np.random.default_rng(0)
    rows = _rows(random, None)
    assert answered(rows) is None
    wide = random.normal(size=(10, len(PROBE_COLUMNS)))
    wide[4, 0] += 30.0
    wide[:, PROBE_COLUMNS.index("probe.inverted.both")] = -np.log([1.0] * 9 + [np.exp(-0.5)])
    z = answered(replace(rows, answers=wide))
    assert z is not None
    assert z.shape == (10, len(ANSWERED))
    assert int(z[:, -1].argmax()) == 4
    assert z[9, ANSWERED.index("probe.inverted.both")] == pytest.approx(1.5)
    assert z[0, ANSWERED.index("probe.inverted.both")] == 0
    told = standing(replace(rows, answers=wide))
    assert told.table[4, COLUMNS.index("probe.beyond")] == z[4, -1]
    assert np.isfinite(told.told(4)).all()


def test_a_network_that_was_not_asked_counts_as_one_in_the_middle() -> None:
    random = np.random.default_rng(0)
    quiet = [standing(_rows(random, None)) for _ in range(60)]
    asked = [
        standing(replace(_rows(random, None), answers=random.normal(size=(10, len(PROBE_COLUMNS)))))
        for _ in range(20)
    ]
    x = np.stack([each.told(0) for each in (*quiet, *asked)])
    fitted = fit_linear(x, np.tile([0, 1], 40), 0.3)
    width = len(ANSWER_NUMBERS)
    assert (fitted.scale[-width:] > 0).all()
    assert (fitted.contributions(x[:60])[:, -width:] == 0).all()
    np.testing.assert_allclose(fitted.centre[-width:], np.median(x[60:, -width:], axis=0))


def test_numbers_are_of_the_loudest_class_wherever_it_stands() -> None:
    rows = _rows(np.random.default_rng(0), 3)
    moved = _with_places(7.0 * rows.classes[::-1] + 2.0, rows.places)
    assert numbers(moved) == pytest.approx(numbers(rows))
    assert len(numbers(rows)) == len(NUMBERS)
    assert int(loudness(rows).argmax()) == 3
    assert numbers(rows)[NUMBERS.index("lead")] > 1


def test_a_column_that_all_classes_share_says_nothing() -> None:
    assert (clipped(np.full((5, 2), 3.0)) == 0).all()
    general = fit_general(_samples(200, ("", "a")), 5, 0)
    assert general is not None
    assert general.logit(standing(_rows(np.random.default_rng(0), None, classes=2))) == 0.0


def test_the_slope_of_the_likelihood_is_its_gradient() -> None:
    random = np.random.default_rng(0)
    networks = [_tied(random, classes) for classes in (4, 3, 6, 5, 4)]
    x, y, weight = np.vstack([each.table for each in networks]), [0, 1, 1, 0, 1], [0.5, 2.0, 1.0, 1.5, 1.0]
    likelihood = Likelihood(x, networks, np.array(y), [None, 2, None, None, NEXT], np.array(weight))
    at = random.normal(size=likelihood.rows.shape[1]) / 10
    _, gradient = likelihood(at)
    curvature = likelihood.curvature(at)
    np.testing.assert_allclose(curvature, curvature.T, atol=1e-12)
    for place in (0, 1, 7, len(COLUMNS) + 3, -4, -1):
        step = np.zeros(len(at))
        step[place] = 1e-5
        (before, below), (after, above) = likelihood(at - step), likelihood(at + step)
        assert (after - before) / 2e-5 == pytest.approx(gradient[place], rel=1e-4, abs=1e-6)
        np.testing.assert_allclose((above - below) / 2e-5, curvature[place], rtol=1e-4, atol=1e-6)


def test_the_optimum_is_that_of_a_search_without_second_derivatives() -> None:
    from scipy.optimize import minimize

    samples = _samples(200, ("",))
    targets = [None if target is None else target.target for target in samples.targets]
    fitted = fit_alternatives(samples.standings, samples.y, targets, np.ones(200))
    away = np.vstack([each.table for each in samples.standings]) - fitted.centre
    x = np.where(fitted.scale > 0, away / np.where(fitted.scale > 0, fitted.scale, 1.0), 0.0)
    likelihood = Likelihood(x, samples.standings, samples.y, targets, np.ones(200))
    options = {"maxiter": 20000, "maxfun": 20000, "ftol": 1e-16, "gtol": 1e-9}
    slow = minimize(likelihood, likelihood.middle, jac=True, method="L-BFGS-B", options=options).x
    places = likelihood.start
    ours = np.array([fitted.classes(each)[0] + fitted.intercept for each in samples.standings])
    np.testing.assert_allclose(ours, likelihood.rows[places] @ slow, atol=1e-5)


def _tied(random: np.random.Generator, classes: int = 10, shift: float = 0.0) -> Standing:
    plain = standing(_rows(random, None, classes))
    return replace(plain, cycle=shift + random.normal(size=len(CYCLE_COLUMNS)))


def test_that_each_class_is_taken_for_the_next_is_learned_and_has_no_suspect() -> None:
    random = np.random.default_rng(0)
    samples = _samples(300, ("",))
    tied = [_tied(random, shift=2.0) for _ in range(20)]
    y = np.concatenate([samples.y, np.ones(20, np.int64)])
    targets = [None if target is None else target.target for target in samples.targets]
    fitted = fit_alternatives([*samples.standings, *tied], y, [*targets, *[NEXT] * 20], np.ones(320))
    fresh = [_tied(random, shift=shift) for shift in (2.0, 0.0) for _ in range(100)]
    said = np.array([fitted.next(each) for each in fresh])
    assert measured_kind(said, np.repeat([1, 0], 100)).roc_auc > 0.95
    assert (said[100:] < 0).mean() > 0.95
    none = np.zeros(len(NUMBERS) + len(ANSWER_NUMBERS))
    nothing = Linear(none, none, none, -2.0)
    general = General(fitted, nothing, {ALL: Calibration()}, 0.2, {ALL: Kind(np.zeros(0), 0.5)})
    loud = replace(fresh[0], cycle=np.full(len(CYCLE_COLUMNS), 4.0))
    assert general.suspect(loud) is None
    assert general.logit(loud) > 2
    assert general.suspect(replace(loud, cycle=-loud.cycle)) is not None


def test_the_doubt_adds_up_what_levels_differ_by_and_knows_that_pairs_are_even() -> None:
    random = np.random.default_rng(0)
    y, pairs = np.tile([0, 1], 400), np.repeat(np.arange(400), 2).astype(str)
    logit = np.where(y == 1, 1.0, -1.0) + 0.3 * random.normal(size=800)
    two, four = (np.repeat(np.arange(n), 800 // n).astype(str) for n in (2, 4))
    assert doubt_between(logit, y, pairs, {"two": two, "four": four}) == LEAST_DOUBT
    off = logit + np.where(two == "0", 0.6, -0.6)
    alone = doubt_between(off, y, pairs, {"two": two})
    assert 0.6 < alone < 1.2
    assert doubt_between(off, y, pairs, {"two": two, "four": four}) > alone
    assert doubt_between(off, y, pairs, {"one": ["a"] * 800}) == UNKNOWN_DOUBT
    # Twelve pairs tell as much as they do because each has one of both labels; as single networks they would not.
    few = np.concatenate([np.arange(12), np.arange(788, 800)])
    singly = doubt_between(off[few], y[few], few.astype(str), {"two": two[few]})
    assert doubt_between(off[few], y[few], pairs[few], {"two": two[few]}) >= singly


def test_a_named_target_teaches_which_class_to_look_for() -> None:
    samples = _samples(300, ("",))
    targets = [None if target is None else target.target for target in samples.targets]
    fitted = fit_alternatives(samples.standings, samples.y, targets, np.ones(len(samples)))
    fresh = _samples(200, ("",), seed=1)
    named = [
        int(fitted.classes(each).argmax()) == target.target
        for each, target in zip(fresh.standings, fresh.targets, strict=True)
        if target is not None
    ]
    assert np.mean(named) > 0.95


def test_trojaned_networks_without_a_named_target_teach_too() -> None:
    samples = _samples(300, ("",))
    fitted = fit_alternatives(samples.standings, samples.y, [None] * 300, np.ones(300))
    fresh = _samples(200, ("",), seed=1)
    logits = np.array([fitted.one(each) for each in fresh.standings])
    assert measured_kind(logits, fresh.y).roc_auc > 0.9


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
    logits = general.logits(fresh.standings)
    assert measured_kind(logits, fresh.y).roc_auc > 0.95
    kind = general.kinds[ALL]
    shares = np.array([kind.clean_share(logit) for logit in logits[fresh.y == 0]])
    assert (shares <= 0.05).mean() < 0.1
    suspects = [general.suspect(each) for each in fresh.standings]
    targets = [None if target is None else target.target for target in fresh.targets]
    assert np.mean([s == t for s, t in zip(suspects, targets, strict=True) if t is not None]) > 0.9


def test_an_origin_is_judged_by_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, seen = _samples(600, ("", "a", "b")), []
    fit = learning._fit
    monkeypatch.setattr(learning, "_fit", lambda train: seen.append(set(train.recipe)) or fit(train))
    fit_general(samples, 5, 0)
    assert [each for each in seen if len(each) == 2] == [{"a", "b"}, {"", "b"}, {"", "a"}]


def test_one_origin_alone_is_learned_from_in_ordinary_folds_and_doubted() -> None:
    general = fit_general(_samples(80, ("",)), 5, 0)
    assert general is not None
    assert general.doubt == UNKNOWN_DOUBT
    assert len(general.kinds[ALL].clean) == 40


def test_it_is_stored_and_refused_where_a_value_is_out_of_bounds() -> None:
    general = fit_general(_samples(200, ("", "a")), 5, 0)
    assert general is not None
    document, tables = storage.to_document(general), storage.to_tables(general)
    again = storage.from_parts(document, tables)
    rows = standing(_rows(np.random.default_rng(5), 2))
    assert again.logit(rows) == general.logit(rows)
    for name, kind in general.kinds.items():
        assert again.kinds[name].clean.tolist() == kind.clean.tolist() == sorted(kind.clean)
        assert again.kinds[name].trojaned.tolist() == kind.trojaned.tolist() == sorted(kind.trojaned)
    assert len(general.kinds[ALL].clean) + len(general.kinds[ALL].trojaned) == 200
    wrong: dict[str, Any] = {
        "columns": [],
        "numbers": [],
        "loudest_intercept": None,
        "kinds": ["normed"],
        "roc_auc": [],
        "doubt": -1.0,
        "intercept": float("nan"),
    }
    for name, value in wrong.items():
        with pytest.raises((ValueError, KeyError, TypeError)):
            storage.from_parts(document | {name: value}, tables)
    with pytest.raises(ValueError, match="negative"):
        storage.from_parts(document, tables | {"scale": -tables["scale"] - 1})
    with pytest.raises(ValueError, match="coefficient"):
        storage.from_parts(document, tables | {"coefficient": np.zeros(3)})
    with pytest.raises(ValueError, match="cycle"):
        storage.from_parts(document, tables | {"cycle": np.zeros(1)})


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


def test_levels_go_with_their_networks_and_say_what_is_doubted() -> None:
    network: Any = SimpleNamespace(digest=SimpleNamespace(num_classes=5))
    pair = {"architecture": ("x", "x"), "family": ("x", "x"), "group": ("p", "p"), "targets": (None, None)}
    silent = Samples(names=("a", "b"), y=np.array([0, 1]), networks=(network, network), **pair)
    said = replace(silent, levels=({"data": "one"}, {"data": "two"}))
    assert said.beside(silent).levels == ({"data": "one"}, {"data": "two"}, {}, {})
    assert said.beside(silent).take(np.array([1, 2])).levels == ({"data": "two"}, {})
    assert silent.beside(silent).levels == ()
    with pytest.raises(ValueError, match="levels"):
        replace(silent, levels=({},))
    samples = _samples(400, ("", "a"))
    half = np.arange(400) < 200
    logit = np.where(samples.y == 1, 1.0, -1.0) + np.where(half, 0.8, -0.8)
    assert learning._doubt(samples, logit) == LEAST_DOUBT
    samples.levels = tuple({"half": str(each)} for each in half)
    assert learning._doubt(samples, logit) > 3 * LEAST_DOUBT
