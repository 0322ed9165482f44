"""Importance goes to what moves the loss, curves pass through the chosen values, and finished points are kept."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

import sensitivity
import sensitivity_report
from sensitivity_curves import (
    LEAST_TRIALS,
    Importance,
    KeptStudy,
    Step,
    curves,
    importances,
    steps_over,
    vary,
)
from weightfeat import cli
from weightfeat.commands import program
from weightfeat.detector import Rows, Samples
from weightfeat.errors import BadMetaparameters
from weightfeat.evaluation import metrics
from weightfeat.evaluation.crossval import cross_validate
from weightfeat.evaluation.search import search_folds
from weightfeat.evaluation.study import open_study

SPACE = {
    "slope": FloatDistribution(0.1, 10.0, log=True),
    "width": IntDistribution(1, 4),
    "idle": FloatDistribution(0.0, 1.0),
    "kind": CategoricalDistribution(["plain", "refused"]),
}


@dataclass(frozen=True)
class Params:
    slope: float = 1.0
    width: int = 2
    idle: float = 0.25
    kind: str = "plain"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def replace(self, **values: Any) -> Params:
        return replace(self, **values)


class Threshold:
    """p = sigmoid(slope * (a - midpoint of the two labels' means)); "refused" cannot be fitted."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, samples: Samples) -> Threshold:
        if self.params.kind == "refused":
            raise BadMetaparameters("is refused", where="kind", expected="plain", remedy="change it")
        a, y = samples.rows(()).values[:, 0], samples.y
        self.middle = (a[y == 0].mean() + a[y == 1].mean()) / 2
        return self

    def predict_proba(self, samples: Samples) -> np.ndarray:
        p = 1 / (1 + np.exp(-self.params.slope * (samples.rows(()).values[:, 0] - self.middle)))
        return np.column_stack([1 - p, p])


def population(n: int = 40) -> Samples:
    y = np.arange(n) % 2
    values = np.random.default_rng(0).normal(size=(n, 1)) + 2.0 * y[:, None]
    return Samples.of_table(Rows.of(["a"], values, ["any"] * n), y)


def searched(trials: int = 30) -> optuna.Study:
    """Trials whose loss is a function of `slope` alone."""
    study, rng = open_study(None), np.random.default_rng(0)
    for _ in range(trials):
        slope = float(np.exp(rng.uniform(np.log(0.1), np.log(10.0))))
        params = {"slope": slope, "width": int(rng.integers(1, 5)), "idle": rng.random(), "kind": "plain"}
        study.add_trial(optuna.create_trial(value=abs(np.log(slope)), params=params, distributions=SPACE))
    return study


def walk(kept: optuna.Study, made: list[Params], names: tuple[str, ...] = tuple(SPACE)) -> tuple[Step, ...]:
    samples = population()

    def make(params: Params) -> Threshold:
        made.append(params)
        return Threshold(params)

    varied = list(vary(Params(), names, searched(3), 3))
    study = KeptStudy(kept, search_folds(samples, n_folds=3))
    return curves(samples, Params(), varied, make, study=study)


@pytest.fixture(scope="module")
def found() -> tuple[Importance, ...]:
    return importances(searched())


def test_importance_goes_to_what_moves_the_loss(found: tuple[Importance, ...]) -> None:
    assert found[0].name == "slope"
    assert found[0].value > 0.8
    assert found[0].low > max(one.high for one in found[1:])
    assert sum(one.value for one in found) == pytest.approx(1)
    assert [one.value for one in found] == sorted((one.value for one in found), reverse=True)


def test_too_few_trials_have_no_importances() -> None:
    assert importances(searched(LEAST_TRIALS - 1)) == ()
    assert "nothing can be said" in sensitivity_report.as_markdown((), ())


def test_steps_go_from_bound_to_bound() -> None:
    assert steps_over(SPACE["slope"], 3) == [0.1, 1.0, 10.0]
    assert steps_over(SPACE["width"], 9) == [1, 2, 3, 4]
    assert steps_over(SPACE["idle"], 3) == [0.0, 0.5, 1.0]
    assert steps_over(SPACE["kind"], 1) == ["plain", "refused"]
    odd = steps_over(FloatDistribution(1 / 3, 2 / 3), 5)
    assert (min(odd), max(odd)) == (1 / 3, pytest.approx(2 / 3))
    assert all(1 / 3 <= value <= 2 / 3 for value in odd)


def test_one_value_moves_at_a_time() -> None:
    for name, value, params in vary(Params(), tuple(SPACE), searched(3), 3):
        assert params == replace(Params(), **{name: value})
        assert params != Params()


def test_curves_hold_the_loss_of_cross_validation_and_pass_through_the_chosen_values() -> None:
    found = walk(open_study(None), [])
    samples = population()
    folds = search_folds(samples, n_folds=3)
    for step in found:
        if step.refusal:
            assert (step.name, step.value) == ("kind", "refused")
            continue
        params = replace(Params(), **{step.name: step.value})
        cv = cross_validate(samples, lambda params=params: Threshold(params), folds)
        assert step.cross_entropy.value == pytest.approx(metrics.cross_entropy(samples.y, cv.probabilities))
        assert step.chosen == (params == Params())
        assert step.more.value == 0 or not step.chosen
    assert [s.value for s in found if s.name == "width"] == [1, 2, 4]
    assert {s.more.value for s in found if s.name == "idle"} == {0.0}
    assert next(s for s in found if s.value == 0.1).more.low > 0


def test_finished_points_are_kept_and_not_made_again(tmp_path: Path) -> None:
    first: list[Params] = []
    part = walk(open_study(tmp_path / "j.log", name=sensitivity.KEPT), first, ("slope",))
    assert len(first) == 3 * 3
    more: list[Params] = []
    whole = walk(open_study(tmp_path / "j.log", name=sensitivity.KEPT), more, ("slope", "idle"))
    assert {p.idle for p in more} == {0.0, 0.5, 1.0}
    assert whole[: len(part)] == part
    assert open_study(tmp_path / "j.log").trials == []  # the search's own study is another


def test_reports_hold_every_value(found: tuple[Importance, ...]) -> None:
    steps = walk(open_study(None), [])
    text = sensitivity_report.as_markdown(found, steps)
    assert "| slope | 1 | chosen |" in text
    assert "| kind | refused | cannot be used |" in text
    rows = list(csv.DictReader(io.StringIO(sensitivity_report.curves_csv(steps))))
    assert [row["metaparameter"] for row in rows if row["chosen"] == "True"] == list(SPACE)
    assert sensitivity_report.importances_csv(found).count("\n") == 1 + len(found)
    pytest.importorskip("matplotlib")
    assert sensitivity_report.importances_plot(found).startswith(b"\x89PNG")
    assert sensitivity_report.curves_plot(steps).startswith(b"\x89PNG")


@pytest.mark.e2e
def test_the_command_goes_from_a_journal_to_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from container_round import write_parameters, write_round

    write_parameters(tmp_path)
    write_round(tmp_path / "round")
    source = ["--round", tmp_path / "round", "--store", tmp_path / "store", "--jobs", 1, "--device", "cpu"]
    source += ["--metaparameters", tmp_path / "metaparameters.json"]
    source += ["--schema", tmp_path / "metaparameters_schema.json", "--storage", tmp_path / "journal.log"]

    def asked(*more: object) -> int:
        words = (*source, "--parameters", 1, "--points", 2, "--output", tmp_path / "out", *more)
        monkeypatch.setattr(sys, "argv", ["sensitivity.py", *map(str, words)])
        return program.run(sensitivity.main)

    assert asked() == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "no such search journal" in error
    search = ("tune", *source, "--trials", 1, "--output", tmp_path / "best.json")
    assert cli.main([str(word) for word in search]) == 0
    assert asked() == 0
    assert "One at a time" in capsys.readouterr().out
    assert {"curves.csv", "importances.csv", "sensitivity.md"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
    assert asked("--seed", 1) == 2  # the journal was begun on other folds
