"""Measuring what configure would learn: cross-validation, unseen architectures, target classes, learning curve.

Every fit happens inside the fold it is tested by, and every figure comes from the same drawn folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightfeat import features
from weightfeat.classmodel import ClassSettings, naming_curve
from weightfeat.classmodel.measure import Recovery, as_lines, recover, wilson
from weightfeat.configure import bar, estimators, feature_table, searching, with_few_bags, workers
from weightfeat.evaluation import control, crossval, effects_report, held_out, learning_curve, plots, report
from weightfeat.evaluation.effects import effects
from weightfeat.evaluation.folds import Fold, stratified_folds
from weightfeat.evaluation.intervals import Estimate
from weightfeat.files import write_atomically
from weightfeat.metaparameters import Metaparameters
from weightfeat.rounds.labelled import LabelledSet

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Measured:
    """A report and what stands beside it.

    `rows` are METADATA's; `curve` and `naming` are empty where no learning curve was asked for.
    """

    report: report.Report
    validation: crossval.CrossValidation
    rows: tuple[Mapping[str, object], ...]
    held_out: tuple[held_out.HeldOut, ...]
    recovery: tuple[Recovery, ...]
    curve: tuple[learning_curve.Point, ...]
    naming: tuple[naming_curve.NamingPoint, ...]


def measure(
    labelled: LabelledSet,
    params: Metaparameters,
    *,
    folds: int,
    repeats: int,
    jobs: int = 1,
    seed: int = 0,
    curve: bool = False,
    nested: int = 0,
    nested_start: bool = False,
    schema_path: Path | None = None,
    journals: Path | None = None,
    progress: bool = True,
) -> Measured:
    """Everything that `weightfeat cv` says. The folds depend on models and seed alone, so every rival gets the same.

    With `nested` trials the cross-validation searches the schema's metaparameters inside every fold, from `params` on
    with `nested_start`; what stands beside it (architectures left out, target classes, learning curve) has those of
    `params`. Under `journals` these searches keep their trials, and a killed run goes on from them.

    Raises BadRound where there are too few models for the folds.
    """
    bench = _Bench(labelled, params, workers(jobs), seed, progress)
    drawn = stratified_folds(
        *(labelled.labels, labelled.architectures, labelled.groups),
        n_folds=folds,
        n_repeats=repeats,
        seed=seed,
    )
    if nested and schema_path is not None:
        validation = bench.search_inside(drawn, schema_path, nested, nested_start, journals)
    else:
        validation = bench.cross_validate(drawn)
    figures = report.summarise(validation, labelled.rows, bench.controls(drawn), seed=seed)
    recovery = bench.recover(validation, drawn)
    return Measured(
        report=figures,
        validation=validation,
        rows=labelled.rows,
        held_out=bench.hold_out(),
        recovery=recovery,
        curve=bench.curve(validation, drawn) if curve else (),
        naming=bench.naming(recovery, drawn) if curve else (),
    )


class _Bench:
    """One labelled set under one detector: what all the measurements share."""

    def __init__(
        self, labelled: LabelledSet, params: Metaparameters, jobs: int, seed: int, progress: bool
    ) -> None:
        self._labelled, self._params, self._jobs = labelled, params, jobs
        self._seed, self._progress = seed, progress
        self._make = estimators(labelled)
        table = feature_table(labelled, params.blocks)
        self._data: tuple[pd.DataFrame, Sequence[int], Sequence[str], Sequence[str], Sequence[str]] = (
            *(table, labelled.labels, labelled.architectures, labelled.families),
            labelled.groups,
        )

    def cross_validate(self, folds: Sequence[Fold]) -> crossval.CrossValidation:
        with bar("cv", "fold", self._progress) as advance:
            make = partial(self._make, self._params)
            return crossval.cross_validate(*self._data, make, folds, jobs=self._jobs, progress=advance)

    def search_inside(
        self, folds: Sequence[Fold], schema_path: Path, trials: int, start: bool, journals: Path | None
    ) -> crossval.CrossValidation:
        table = feature_table(self._labelled, features.BLOCKS)
        make = searching(
            *(self._labelled, self._params, schema_path),
            trials=trials,
            from_params=start,
            seed=self._seed,
            journals=journals,
        )
        with bar("nested cv", "fold", self._progress) as advance:
            return crossval.cross_validate(
                table, *self._data[1:], make, folds, jobs=self._jobs, progress=advance
            )

    def controls(self, folds: Sequence[Fold]) -> dict[str, crossval.CrossValidation]:
        _, labels, architectures, families, _ = self._data
        counts = [digest.num_classes for digest in self._labelled.digests]
        return control.cross_validate_controls(
            *(self._labelled.names, labels, architectures, families, counts, folds), jobs=self._jobs
        )

    def hold_out(self) -> tuple[held_out.HeldOut, ...]:
        # Thirty fits more, each of which would take as long as a fold's; fewer bags can only make the figures worse.
        make = partial(self._make, with_few_bags(self._params))
        with bar("leave one architecture, one family out", "fit", self._progress) as advance:
            return held_out.hold_out(*self._data, make, jobs=self._jobs, progress=advance, seed=self._seed)

    def recover(self, validation: crossval.CrossValidation, folds: Sequence[Fold]) -> tuple[Recovery, ...]:
        if not self._params.train_class_evidence:
            return ()
        return recover(self._labelled, folds, ClassSettings.of(self._params), validation.probabilities)

    def curve(
        self, whole: crossval.CrossValidation, folds: Sequence[Fold]
    ) -> tuple[learning_curve.Point, ...]:
        make = partial(self._make, self._params)
        with bar("learning curve", "fold", self._progress) as advance:
            return learning_curve.learning_curve(
                *(whole, *self._data, make, folds), jobs=self._jobs, seed=self._seed, progress=advance
            )

    def naming(
        self, whole: Sequence[Recovery], folds: Sequence[Fold]
    ) -> tuple[naming_curve.NamingPoint, ...]:
        if not whole:
            return ()
        settings = ClassSettings.of(self._params)
        return naming_curve.naming_curve(whole, self._labelled, folds, settings, seed=self._seed)


def as_table(measured: Measured) -> str:
    """All of it for a terminal."""
    lines = [line for held in measured.held_out for line in ("", *held_out.as_lines(held))]
    lines += ["", *as_lines(measured.recovery)] if measured.recovery else []
    lines += ["", *learning_curve.as_lines(measured.curve)] if measured.curve else []
    lines += ["", *naming_curve.as_lines(measured.naming)] if measured.naming else []
    return report.as_table(measured.report) + "\n".join(lines) + "\n"


def write(directory: Path, measured: Measured, log: Callable[[str], None]) -> None:
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
    plots.write(directory, pictures, log)


def _beside(measured: Measured) -> dict[str, Any]:
    """What cv.json holds beside the report's own entries."""
    return {
        "leave_one_out": {held.kind: asdict(held) for held in measured.held_out},
        "target_recovery": [
            asdict(found) | {"target_interval": wilson(found.target_hits, found.networks)}
            for found in measured.recovery
        ],
        "learning_curve": [asdict(point) for point in measured.curve],
        "target_recovery_curve": [asdict(point) for point in measured.naming],
    }
