"""The search finds what it should, repeats itself, goes on where it stopped, and survives useless trials."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from weightfeat import metaparameters
from weightfeat.detector import Rows, Samples
from weightfeat.detector.folds import SEARCH_STREAM, stratified_folds
from weightfeat.errors import BadMetaparameters, BadOutput
from weightfeat.evaluation import metrics
from weightfeat.evaluation.crossval import cross_validate
from weightfeat.evaluation.nested import Tuned
from weightfeat.evaluation.search import SearchPlan, tune
from weightfeat.evaluation.study import finished, fixed_trial, open_study

BLOCKS = {"signal": ["a"], "noise": ["b", "c"]}


@dataclass(frozen=True)
class Params:
    """Metaparameters of `Threshold`."""

    signal: bool
    noise: bool
    slope: float

    @property
    def blocks(self) -> tuple[str, ...]:
        return tuple(name for name in BLOCKS if getattr(self, name))


class Threshold:
    """p = sigmoid(slope * (row mean - midpoint of the two labels' means)); refuses an empty table."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def fit(self, samples: Samples) -> Threshold:
        if not columns(self.params.blocks):
            raise BadMetaparameters("no block is on", where="blocks", expected="one", remedy="switch one on")
        scores, y = self.scores(samples), samples.y
        self.middle = (scores[y == 0].mean() + scores[y == 1].mean()) / 2
        return self

    def predict_proba(self, samples: Samples) -> np.ndarray:
        p = 1 / (1 + np.exp(-self.params.slope * (self.scores(samples) - self.middle)))
        return np.column_stack([1 - p, p])

    def scores(self, samples: Samples) -> np.ndarray:
        rows = samples.rows(())
        return rows.values[:, [rows.names.index(name) for name in columns(self.params.blocks)]].mean(axis=1)


def space(trial: optuna.trial.BaseTrial) -> Params:
    """Blocks on or off; slopes of both signs, of which only positive ones are right."""
    return Params(
        signal=trial.suggest_categorical("signal", [True, False]),
        noise=trial.suggest_categorical("noise", [True, False]),
        slope=trial.suggest_float("slope", -5.0, 5.0),
    )


def population(n: int = 40) -> Samples:
    """Column a tells the label; b and c are noise."""
    y = np.arange(n) % 2
    X = np.random.default_rng(0).normal(size=(n, 3))
    X[:, 0] += 3.0 * y
    architectures = ["resnet18" if i % 4 < 2 else "vgg11_bn" for i in range(n)]
    return Samples.of_table(Rows.of(list("abc"), X, architectures, architectures), y)


def columns(blocks: tuple[str, ...]) -> list[str]:
    return [column for block in blocks for column in BLOCKS[block]]


def search(trials: int = 16, path: Path | None = None, jobs: int = 1, **options: Any) -> Any:
    planned = {name: options.pop(name) for name in ("start", "seed", "n_repeats") if name in options}
    given = {"space": space, "make": Threshold, "jobs": jobs} | options
    return tune(population(), plan=SearchPlan(trials, journal=path, **planned), **given)


def test_search_finds_the_block_that_tells_and_the_right_slope() -> None:
    best = search(trials=24)
    assert best.signal
    assert best.slope > 0


def test_search_repeats_itself_for_any_number_of_jobs() -> None:
    assert search(12) == search(12) == search(12, jobs=2)
    assert search(12) != search(12, seed=1)


def test_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.log", tmp_path / "parts" / "journal.log"
    best = search(16, whole)
    search(8, parts)
    counts: list[tuple[int, int]] = []
    assert search(16, parts, progress=lambda done, total: counts.append((done, total))) == best
    assert counts == [(12, 16), (16, 16)]
    assert search(16, parts) == best  # nothing left to do
    values = [[t.params for t in open_study(path).trials] for path in (whole, parts)]
    assert values[0] == values[1]


def test_interrupted_batch_is_closed_and_its_start_values_are_tried_again(tmp_path: Path) -> None:
    start = {"signal": True, "noise": False, "slope": 4.5}

    def stop(params: Params) -> Threshold:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(8, tmp_path / "j.log", start=start, make=stop)
    study = open_study(tmp_path / "j.log")
    assert finished(study) == len(study.trials) == 4
    search(8, tmp_path / "j.log", start=start)
    complete = [
        t for t in open_study(tmp_path / "j.log").trials if t.state == optuna.trial.TrialState.COMPLETE
    ]
    assert start in [t.params for t in complete]


def test_start_values_bound_the_result() -> None:
    assert search(1, start={"signal": True, "noise": False, "slope": 4.5}) == Params(True, False, 4.5)


def test_start_is_left_for_what_is_clearly_better_and_not_for_luck(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "weightfeat")
    wrong = {"signal": True, "noise": True, "slope": -1.0}
    assert search(24, start=wrong).slope > 0
    assert not caplog.messages[0].endswith("are kept")
    # Noise in the place of the block that tells: no trial is better than guessing but by luck.
    guess = {"signal": False, "noise": True, "slope": 0.0}
    found = tune(
        population(),
        lambda trial: Params(False, True, space(trial).slope),
        Threshold,
        SearchPlan(24, start=guess),
    )
    assert found == Params(False, True, 0.0)
    left, kept = caplog.messages
    assert "is needed to rule out chance" in left
    assert kept.endswith("is needed to rule out chance: the values it began with are kept")


def test_losses_of_a_trial_are_kept_model_by_model(tmp_path: Path) -> None:
    search(4, tmp_path / "j.log", n_repeats=2)
    samples = population()
    folds = stratified_folds(samples, n_folds=5, n_repeats=2, stream=SEARCH_STREAM)
    trial = open_study(tmp_path / "j.log").best_trial
    params = space(fixed_trial(trial.params))
    cv = cross_validate(samples, lambda: Threshold(params), folds)
    expected = [metrics.elementwise_cross_entropy(samples.y, p) for p in cv.probabilities]
    np.testing.assert_allclose(trial.user_attrs["losses"], np.mean(expected, axis=0))


def test_pruned_trials_saw_fewer_folds(tmp_path: Path) -> None:
    search(32, tmp_path / "j.log")
    trials = open_study(tmp_path / "j.log").trials
    complete = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    pruned = [t for t in trials if t.state == optuna.trial.TrialState.PRUNED]
    assert len(complete) + len(pruned) == 32
    assert all(len(t.intermediate_values) == 5 for t in complete)
    refused = [t for t in pruned if "error" in t.user_attrs]
    laggards = [t for t in pruned if t not in refused]
    assert all("no block is on" in t.user_attrs["error"] and not t.intermediate_values for t in refused)
    assert laggards
    assert all(2 <= len(t.intermediate_values) < 5 for t in laggards)


def test_value_of_a_trial_is_its_cross_entropy_on_search_folds(tmp_path: Path) -> None:
    best = search(8, tmp_path / "j.log")
    samples = population()
    folds = stratified_folds(samples, n_folds=5, n_repeats=1, stream=SEARCH_STREAM)
    cv = cross_validate(samples, lambda: Threshold(best), folds)
    expected = metrics.cross_entropy(samples.y, cv.probabilities)
    assert open_study(tmp_path / "j.log").best_value == pytest.approx(expected)


def test_journal_of_other_data_or_of_something_else_is_refused(tmp_path: Path) -> None:
    search(4, tmp_path / "j.log")
    with pytest.raises(BadOutput, match="other models"):
        search(4, tmp_path / "j.log", seed=5)
    for path in (tmp_path, tmp_path / "j.log" / "j.log"):
        with pytest.raises(BadOutput):
            search(4, path)


@pytest.mark.parametrize(
    "text",
    [
        "not a journal\n",
        "0.128",
        '{"train_seed": 1}\n',
        '{"op_code": 0, "worker_id": "w", "study_name": "another program\'s", "directions": [1]}\n',
        "[" * 10_000,
        "\ufeff\n",
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_kept(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(BadOutput, match=r"mine\.txt: cannot be used as a search journal"):
        open_study(path)
    assert path.read_text() == text


def test_a_search_that_is_there_is_opened_without_writing(tmp_path: Path) -> None:
    search(4, tmp_path / "j.log")
    before = (tmp_path / "j.log").read_bytes()
    assert search(4, tmp_path / "j.log") == search(4)
    assert (tmp_path / "j.log").read_bytes() == before


def test_space_without_a_usable_point_is_refused() -> None:
    def hopeless(trial: optuna.trial.BaseTrial) -> Params:
        return Params(False, False, trial.suggest_float("slope", 0, 1))

    with pytest.raises(BadMetaparameters, match="no block is on"):
        search(4, space=hopeless)


def test_search_over_every_metaparameter_of_the_schema() -> None:
    root = Path(__file__).parents[2]
    schema = json.loads((root / "metaparameters_schema.json").read_text())
    shipped = metaparameters.load(root / "metaparameters.json", root / "metaparameters_schema.json")
    held = {"train_seed": 3}

    def slope_of(params: metaparameters.Metaparameters) -> Threshold:
        return Threshold(Params(True, False, 5 * params.infer_prior))

    best = search(
        8,
        space=lambda trial: metaparameters.search_space(trial, schema, held),
        make=slope_of,
        start=shipped.as_dict(),
    )
    assert best.train_seed == 3
    assert best.infer_prior >= shipped.infer_prior  # steeper is better on these models
    assert set(best.as_dict()) == set(schema["properties"])


def test_nested_searches_that_were_stopped_go_on_each_from_its_own_journal(tmp_path: Path) -> None:
    samples = population()
    folds = stratified_folds(samples, n_folds=3, n_repeats=1)
    tried: list[Params] = []

    def counted(trial: optuna.trial.BaseTrial) -> Params:
        tried.append(space(trial))
        return tried[-1]

    def run(trials: int, journals: Path | None) -> np.ndarray:
        tried.clear()
        plan = SearchPlan(trials, n_folds=3)
        make = partial(Tuned, counted, Threshold, Threshold, plan, journals)
        return cross_validate(samples, make, folds).probabilities

    run(4, tmp_path)
    assert len(list(tmp_path.glob("*.journal"))) == 3
    resumed = run(8, tmp_path)
    assert len(tried) == 3 * (4 + 1)  # the missing trials of every fold, and the best once more
    np.testing.assert_array_equal(run(8, tmp_path), resumed)
    assert len(tried) == 3
    np.testing.assert_array_equal(run(8, None), resumed)


def test_nested_search_never_sees_the_tested_models() -> None:
    samples = population()
    folds = stratified_folds(samples, n_folds=3, n_repeats=1)

    def tuned() -> Tuned[Params]:
        return Tuned(space, Threshold, Threshold, SearchPlan(8, n_folds=3))

    before = cross_validate(samples, tuned, folds)
    assert metrics.roc_auc(samples.y, before.probabilities) > 0.9
    flipped = samples.y.copy()
    flipped[folds[0].test] = 1 - flipped[folds[0].test]
    after = cross_validate(replace(samples, y=flipped), tuned, folds)
    np.testing.assert_array_equal(
        after.probabilities[0, folds[0].test], before.probabilities[0, folds[0].test]
    )
