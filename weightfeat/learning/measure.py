"""Measuring what configure would learn: cross-validation, unseen architectures, target classes, learning curve.

Every fit happens inside the fold it is tested by, and every figure comes from the same drawn folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from weightfeat import features
from weightfeat.detector import Detector, Fold, Samples
from weightfeat.detector.folds import stratified_folds
from weightfeat.evaluation import (
    control,
    crossval,
    effects_report,
    held_out,
    learning_curve,
    naming_curve,
    plots,
    report,
)
from weightfeat.evaluation.architectures import with_named_architectures
from weightfeat.evaluation.effects import effects
from weightfeat.evaluation.intervals import Estimate
from weightfeat.evaluation.naming import Recovery, as_lines, recover, wilson
from weightfeat.evaluation.search import SearchPlan
from weightfeat.evaluation.silence import Row
from weightfeat.files import write_atomically
from weightfeat.learning import recipes
from weightfeat.learning.running import progress_bar, workers
from weightfeat.learning.tuning import searching, trial_detector
from weightfeat.metaparameters import Metaparameters

Rows = Sequence[Row]
"""METADATA's rows in the samples' order."""


@dataclass(frozen=True)
class Nested:
    """A search inside every fold: `trials` of the schema's metaparameters, begun with the given ones where `start`.

    Under `journals` these searches keep their trials, and a killed run goes on from them.
    """

    trials: int
    schema_path: Path
    start: bool = False
    journals: Path | None = None


@dataclass(frozen=True)
class Plan:
    """How to measure. `curve` adds the learning curves, `nested` searches inside every fold."""

    folds: int = 5
    repeats: int = 3
    seed: int = 0
    curve: bool = False
    nested: Nested | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """A report and what stands beside it.

    `rows` are METADATA's; `curve` and `naming` are empty where no learning curve was asked for.
    """

    report: report.Report
    validation: crossval.CrossValidation
    rows: tuple[Row, ...]
    held_out: tuple[held_out.HeldOut, ...]
    recovery: tuple[Recovery, ...]
    curve: tuple[learning_curve.Point, ...]
    naming: tuple[naming_curve.NamingPoint, ...]
    recipes: tuple[recipes.Level, ...] = ()


@dataclass(frozen=True, eq=False)
class Beside:
    """Networks of other recipes, which every fit learns from besides, and their METADATA rows."""

    samples: Samples
    rows: Rows


def measure(
    samples: Samples,
    rows: Rows,
    params: Metaparameters,
    plan: Plan,
    *,
    beside: Beside | None = None,
    jobs: int = 1,
    progress: bool = True,
) -> Measured:
    """Everything that `weightfeat cv` says. The folds depend on models and seed alone, so every rival gets the same.

    What stands beside a nested cross-validation (architectures left out, target classes, learning curve) has the
    metaparameters given. Tables call networks of unknown architecture what METADATA calls them. Raises BadRound where
    there are too few models for the folds.
    """
    drawn = stratified_folds(samples, n_folds=plan.folds, n_repeats=plan.repeats, seed=plan.seed)
    samples = samples.computed(params.blocks if plan.nested is None else features.BLOCKS)
    others = None if beside is None else beside.samples.computed(())
    bench = _Bench(samples, rows, params, others, plan.seed, workers(jobs), progress)
    named = with_named_architectures(samples, rows)
    found = bench.cross_validate(drawn, plan.nested)
    validation = replace(found, architectures=named.architecture)
    controls = control.cross_validate_controls(named, drawn, jobs=workers(jobs))
    recovery = bench.recover(validation, drawn)
    return Measured(
        report=report.summarise(validation, rows, controls, seed=plan.seed),
        validation=validation,
        rows=tuple(rows),
        held_out=bench.leave_one_out({"architecture": named.architecture, "family": named.family}),
        recovery=recovery,
        curve=bench.curve(validation, drawn) if plan.curve else (),
        naming=bench.naming(recovery, drawn) if plan.curve else (),
        recipes=() if beside is None else bench.leave_recipes_out(beside.rows),
    )


@dataclass(frozen=True, eq=False)
class _Bench:
    """One set of samples under one detector: what all the measurements share."""

    samples: Samples
    rows: Rows
    params: Metaparameters
    others: Samples | None
    seed: int
    jobs: int
    shown: bool

    def cross_validate(self, folds: Sequence[Fold], nested: Nested | None) -> crossval.CrossValidation:
        make: Callable[[], crossval.Estimator] = partial(Detector, self.params, beside=self.others)
        if nested is not None:
            plan = SearchPlan(nested.trials, seed=self.seed)
            make = searching(
                self.params,
                nested.schema_path,
                plan,
                from_params=nested.start,
                journals=nested.journals,
            )
        with progress_bar("cv" if nested is None else "nested cv", "fold", self.shown) as advance:
            return crossval.cross_validate(self.samples, make, folds, jobs=self.jobs, progress=advance)

    def leave_one_out(self, levels: Mapping[str, Sequence[str]]) -> tuple[held_out.HeldOut, ...]:
        # Thirty fits more, each of which would take as long as a fold's; fewer bags can only make the figures worse.
        make = partial(trial_detector, self.params, beside=self.others)
        with progress_bar("leave one architecture, one family out", "fit", self.shown) as advance:
            return held_out.leave_one_out(
                self.samples, levels, make, jobs=self.jobs, progress=advance, seed=self.seed
            )

    def leave_recipes_out(self, beside: Rows) -> tuple[recipes.Level, ...]:
        assert self.others is not None
        every, rows = self.samples.beside(self.others), (*self.rows, *beside)
        with progress_bar("leave one level of a recipe out", "fit", self.shown) as advance:
            return recipes.leave_recipes_out(every, rows, self.params, jobs=self.jobs, progress=advance)

    def recover(self, validation: crossval.CrossValidation, folds: Sequence[Fold]) -> tuple[Recovery, ...]:
        if not self.params.train_class_evidence:
            return ()
        return recover(self.samples, self.rows, folds, self.params, validation.probabilities)

    def curve(
        self, whole: crossval.CrossValidation, folds: Sequence[Fold]
    ) -> tuple[learning_curve.Point, ...]:
        make = partial(Detector, self.params, beside=self.others)
        with progress_bar("learning curve", "fold", self.shown) as advance:
            return learning_curve.learning_curve(
                whole, self.samples, make, folds, jobs=self.jobs, seed=self.seed, progress=advance
            )

    def naming(
        self, whole: Sequence[Recovery], folds: Sequence[Fold]
    ) -> tuple[naming_curve.NamingPoint, ...]:
        if not whole:
            return ()
        return naming_curve.naming_curve(whole, self.samples, self.rows, folds, self.params, seed=self.seed)


def as_table(measured: Measured) -> str:
    """All of it for a terminal."""
    lines = ["", *recipes.as_lines(measured.recipes)] if measured.recipes else []
    lines += [line for held in measured.held_out for line in ("", *held_out.as_lines(held))]
    lines += ["", *as_lines(measured.recovery)] if measured.recovery else []
    lines += ["", *learning_curve.as_lines(measured.curve)] if measured.curve else []
    lines += ["", *naming_curve.as_lines(measured.naming)] if measured.naming else []
    return report.as_table(measured.report) + "\n".join(lines) + "\n"


def write(directory: Path, measured: Measured) -> None:
    """predictions.csv, cv.json, effects.csv and .md, learning_curve.csv where there is one, and the plots.

    Each is written whole or not at all. Raises BadOutput where that cannot be.
    """
    report.write(directory, measured.report, measured.validation, _beside(measured))
    found = effects(measured.validation, measured.rows)
    write_atomically(directory / "effects.csv", effects_report.as_csv(found))
    write_atomically(directory / "effects.md", effects_report.as_markdown(found))
    if measured.curve:
        write_atomically(directory / "learning_curve.csv", learning_curve.as_csv(measured.curve))
    figures = measured.report
    error = Estimate(figures.calibration_error, *figures.calibration_error_interval)
    pictures = {"reliability.png": partial(plots.reliability, measured.validation, error)}
    if found:
        pictures["effects.png"] = partial(effects_report.effects_plot, found)
    if any(" x " in effect.term for effect in found):
        pictures["interactions.png"] = partial(effects_report.interactions_plot, found)
    if measured.curve:
        pictures["learning_curve.png"] = partial(plots.learning_curve, measured.curve)
    plots.write(directory, pictures)


def _beside(measured: Measured) -> dict[str, Any]:
    """What cv.json holds beside the report's own entries."""
    return {
        "leave_one_out": {held.kind: asdict(held) for held in measured.held_out},
        "target_recovery": [
            asdict(found) | {"target_interval": wilson(found.target_hits, found.networks)}
            for found in measured.recovery
        ],
        "leave_recipes_out": [asdict(level) for level in measured.recipes],
        "learning_curve": [asdict(point) for point in measured.curve],
        "target_recovery_curve": [asdict(point) for point in measured.naming],
    }
