"""Tested on what was never trained on: all models of one kind, such as an architecture, left out at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from weightfeat.detector.folds import Fold
from weightfeat.detector.out_of_fold import Progress
from weightfeat.detector.samples import Samples
from weightfeat.errors import BadRound
from weightfeat.evaluation.crossval import CrossValidation, Estimator, cross_validate
from weightfeat.evaluation.folds import leave_one_out_folds
from weightfeat.evaluation.intervals import Estimate, bootstrap, distribution, percentiles
from weightfeat.evaluation.strata import Stratum, as_table, by_value


@dataclass(frozen=True)
class HeldOut:
    """A stratum for each value left out, and figures over all of them.

    `mean_roc_auc` is the mean of the AUCs within the `ranked` values that hold both labels; `cross_entropy` counts
    every model once. Where it could not be done, `refusal` says why and the rest is empty.
    """

    kind: str
    strata: tuple[Stratum, ...]
    ranked: int
    cross_entropy: Estimate
    mean_roc_auc: Estimate
    refusal: str = ""

    @property
    def worst(self) -> Stratum:
        """The value left out on which the cross-entropy is greatest."""
        return max(self.strata, key=lambda stratum: stratum.cross_entropy)


def leave_one_out(
    samples: Samples,
    levels: Mapping[str, Sequence[str]],
    make: Callable[[], Estimator],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    seed: int = 0,
) -> tuple[HeldOut, ...]:
    """Of every kind of `levels`, one a model: fit once for each level on all models of the others, test on its own.

    A kind is whatever sorts the models: their architecture, their family, a factor of how they were made. Where two
    kinds leave out the same models, as a family of one architecture does, they share the fit.
    """
    possible: dict[str, tuple[Fold, ...]] = {}
    refused: list[HeldOut] = []
    for kind, values in levels.items():
        try:
            folds = leave_one_out_folds(samples, values)
        except BadRound as error:
            nothing = Estimate(math.nan, math.nan, math.nan)
            refused.append(HeldOut(kind, (), 0, nothing, nothing, str(error)))
        else:
            possible[kind] = tuple(replace(fold, repeat=len(possible)) for fold in folds)
    if not possible:
        return tuple(refused)
    every = list(chain(*possible.values()))
    cv = cross_validate(samples, make, every, jobs=jobs, progress=progress)
    measured = [
        summarise(kind, cv.alone(repeat), levels[kind], seed=seed) for repeat, kind in enumerate(possible)
    ]
    return (*measured, *refused)


def summarise(
    kind: str, cv: CrossValidation, values: Sequence[str], *, draws: int = 1000, seed: int = 0
) -> HeldOut:
    """Figures of a cross-validation whose folds are `values`, one a model."""
    strata = by_value(cv, kind, values, clean="same_architectures", draws=draws, seed=seed)
    areas = []
    for number, stratum in enumerate(strata):
        inside = np.array([value == stratum.value for value in values])
        if not math.isnan(stratum.roc_auc):
            # A seed of its own for each: different models, so their resamples are independent.
            areas.append(
                distribution(
                    cv.labels[inside],
                    cv.probabilities[:, inside],
                    "roc_auc",
                    draws=draws,
                    seed=seed + 1 + number,
                )
            )
    mean = Estimate(math.nan, math.nan, math.nan)
    if areas:
        mean = percentiles(
            float(np.mean([value for value, _ in areas])), np.mean([drawn for _, drawn in areas], axis=0)
        )
    return HeldOut(
        kind,
        strata,
        len(areas),
        bootstrap(cv.labels, cv.probabilities, "cross_entropy", draws=draws, seed=seed),
        mean,
    )


def as_lines(held: HeldOut) -> list[str]:
    """For a terminal: a heading with the figures over all, then a line a value left out."""
    title = f"leave one {held.kind} out"
    if held.refusal:
        return [f"{title}: not possible: {held.refusal}"]
    ce, auc, worst = held.cross_entropy, held.mean_roc_auc, held.worst
    area = f"{auc:.3f}" if held.ranked else "-"
    return [
        f"{title}: cross-entropy {ce:.3f}, at worst "
        f"{worst.cross_entropy:.3f} ({worst.value}, {worst.models} of it); mean ROC-AUC of {held.ranked} {area}",
        *as_table("left out", held.strata).terminal(4),
    ]
