"""Planted effects are found where they were planted, and nowhere else; a cell's mean placement is its AUC."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest

from weightfeat.evaluation import effects_report, metrics
from weightfeat.evaluation.covariates import slopes
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.effects import Effect, effects

ATTACKED = ("1", "2", "20")


def sample(
    n: int = 480, *, attacked: float = 0.0, crossed: float = 0.0, fraction: float = 0.0, seed: int = 0
) -> tuple[CrossValidation, list[dict[str, Any]]]:
    """Scores to which the number of attacked classes, polygons of one class, and the fraction add what is asked."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    score = np.where(y == 1, 0.8, -0.8) + rng.normal(size=(2, n)) * 0.5
    rows: list[dict[str, Any]] = []
    for i in range(n):
        level, trigger, sources = i // 2 % 2, i // 4 % 2, i // 8 % 3
        share = float(rng.uniform(0.05, 0.5))
        score[:, i] += y[i] * (
            attacked * (sources - 1) + crossed * (trigger == 0 and sources == 0) + fraction * (share - 0.275)
        )
        rows.append(
            {
                "poisoned": str(bool(y[i])),
                "number_classes_level": str(level),
                "trigger_type": ("polygon", "instagram")[trigger],
                "number_triggered_classes": ATTACKED[sources],
                "triggered_fraction": str(share),
            }
        )
    names = tuple(str(i) for i in range(n))
    p = 1 / (1 + np.exp(-score))
    return CrossValidation(names, y, ("any",) * n, p, np.zeros((2, n), np.int64), ("1", "2")), rows


def by_level(found: tuple[Effect, ...]) -> dict[str, Effect]:
    assert len({(e.term, e.level) for e in found}) == len(found)
    return {f"{e.term}: {e.level}": e for e in found}


def clear(effect: Effect) -> bool:
    """Whether either figure's effect excludes zero."""
    return any(e.low > 0 or e.high < 0 for e in (effect.cross_entropy_effect, effect.roc_auc_effect))


def test_a_planted_main_effect_is_found_and_is_no_interaction() -> None:
    found = by_level(effects(*sample(attacked=0.6), draws=300))
    one, many = found["attacked: one"], found["attacked: all"]
    assert one.cross_entropy_effect.low > 0 > one.roc_auc_effect.high
    assert many.cross_entropy_effect.high < 0 < many.roc_auc_effect.low
    assert not clear(found["trigger: polygon"])
    assert not clear(found["classes: about 10"])


def test_a_planted_interaction_is_found() -> None:
    found = by_level(effects(*sample(crossed=-1.5), draws=300))
    assert found["trigger x attacked: polygon x one"].cross_entropy_effect.low > 0
    assert found["trigger x attacked: filter x one"].cross_entropy_effect.high < 0
    assert not clear(found["classes x attacked: about 10 x one"])


def test_a_planted_slope_is_found_per_standard_deviation() -> None:
    found = by_level(effects(*sample(fraction=4.0), draws=300))
    (slope,) = (e for e in found.values() if e.term == "fraction")
    assert slope.cross_entropy_effect.high < 0 < slope.roc_auc_effect.low
    assert slope.level.startswith("+1 sd (0.13")


def test_without_effects_intervals_hold_zero_as_often_as_they_say() -> None:
    found = [e for seed in range(8) for e in effects(*sample(240, seed=seed), draws=200)]
    for name in ("cross_entropy_effect", "roc_auc_effect"):
        estimates = [getattr(e, name) for e in found]
        assert np.mean([e.low > 0 or e.high < 0 for e in estimates]) < 0.12


def test_means_are_those_of_the_cells() -> None:
    cv, rows = sample(attacked=0.6, crossed=-1.0)
    found = by_level(effects(cv, rows, draws=20))
    inside = np.array([r["trigger_type"] == "polygon" and r["number_triggered_classes"] == "1" for r in rows])
    inside &= cv.labels == 1
    ranked = inside | (cv.labels == 0)
    cell = found["trigger x attacked: polygon x one"]
    assert cell.networks == inside.sum()
    assert cell.roc_auc.value == pytest.approx(
        metrics.roc_auc(cv.labels[ranked], cv.probabilities[:, ranked])
    )
    assert cell.cross_entropy.value == pytest.approx(
        metrics.cross_entropy(cv.labels[inside], cv.probabilities[:, inside])
    )
    assert cell.balanced == ("classes",)


def test_cells_count_alike_though_networks_do_not() -> None:
    """Most polygons attack one class here: their level must not take the blame for it."""
    cv, rows = sample(960, attacked=0.6)
    skewed = [
        i
        for i, row in enumerate(rows)
        if row["trigger_type"] != "polygon" or row["number_triggered_classes"] == "1" or i // 24 % 4 == 0
    ]
    part = CrossValidation(
        tuple(cv.names[i] for i in skewed),
        cv.labels[skewed],
        ("any",) * len(skewed),
        cv.probabilities[:, skewed],
        cv.folds[:, skewed],
        cv.fold_names,
    )
    chosen = [rows[i] for i in skewed]
    polygon = by_level(effects(part, chosen, draws=300))["trigger: polygon"]
    loss = metrics.elementwise_cross_entropy(part.labels, part.probabilities)
    of = {
        t: loss[[r["trigger_type"] == t and r["poisoned"] == "True" for r in chosen]].mean()
        for t in ("polygon", "instagram")
    }
    assert of["polygon"] - of["instagram"] > 0.1  # what plain means would say
    assert abs(polygon.cross_entropy_effect.value) < 0.03


def test_effects_of_a_term_sum_to_zero() -> None:
    found = effects(*sample(attacked=0.6, crossed=-1.0), draws=20)
    for term in ("attacked", "trigger"):
        assert sum(e.cross_entropy_effect.value for e in found if e.term == term) == pytest.approx(0)
    assert sum(e.roc_auc_effect.value for e in found if e.term == "trigger x attacked") == pytest.approx(0)


def test_empty_cells_are_not_balanced_over_and_too_few_networks_say_nothing() -> None:
    cv, rows = sample(attacked=0.6)
    for row in rows:  # filters never meet twenty classes
        row["number_classes_level"] = (
            "0" if row["trigger_type"] == "instagram" else row["number_classes_level"]
        )
    found = effects(cv, rows, draws=20)
    assert {e.balanced for e in found if e.term == "trigger"} == {("attacked",)}
    assert not [e for e in found if e.term == "classes x trigger"]
    assert "- trigger: not balanced over classes" in effects_report.as_markdown(found)
    silent: list[dict[str, Any]] = [{}] * len(rows)
    assert effects(cv, silent, draws=20) == ()
    assert "Too few" in effects_report.as_markdown(())


def test_slope_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    x, beside = rng.normal(size=30), np.column_stack([np.ones(30), rng.integers(2, size=30)])
    y = 3 * x + beside @ [1.0, 2.0] + rng.normal(size=30)
    counts = np.vstack([np.ones(30), rng.integers(3, size=30)])
    found = slopes(x, y[None, :], beside, counts)
    for drawn, weights in zip(found, counts, strict=True):
        root = np.sqrt(weights)[:, None]
        expected = np.linalg.lstsq(root * np.column_stack([x, beside]), root[:, 0] * y, rcond=None)[0][0]
        assert drawn == pytest.approx(expected)


def test_tables_repeat_to_the_byte() -> None:
    first, second = (effects(*sample(crossed=-1.0), draws=50) for _ in range(2))
    text = effects_report.as_csv(first)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert text == effects_report.as_csv(second)
    assert len(rows) == len(first)
    assert float(rows[0]["roc_auc_effect_low"]) == first[0].roc_auc_effect.low
    assert effects_report.as_markdown(first).count("\n|") == len(first) + 1
