"""Learning the general model: an origin counts by how well it is known, and is judged by what the others taught."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.calibration import Calibration, fit_calibration
from weightfeat.detector.classes.models import FEWEST_CLASSES
from weightfeat.detector.folds import Fold, inner_folds
from weightfeat.detector.general.alternatives import Alternatives, fit_alternatives
from weightfeat.detector.general.model import LEAST_DOUBT, General, kind_of, raw_logit
from weightfeat.detector.general.numbers import numbers
from weightfeat.detector.kinds import ALL, Kind, measured_kind
from weightfeat.detector.linear import Linear, fit_linear
from weightfeat.detector.out_of_fold import Judge, out_of_fold
from weightfeat.detector.samples import Samples
from weightfeat.features.summaries import Array

__all__ = ["fit_general"]

PRIOR_VARIANCE = 0.1
FEWEST_CLEAN = 40
"""Clean networks of a kind from which its own shares are told: with fewer, one in twenty is not to be seen."""
FEWEST_OTHERS = 200
"""Networks that must be left to learn from where an origin is left out."""
WELL_KNOWN = 60.0
"""Networks at which an origin counts half of what it ever does."""
UNKNOWN_DOUBT = 1.0
_MOST_SHIFT = 5.0


def fit_general(samples: Samples, folds: int, seed: int) -> General | None:
    """Learn from all samples; `recipe` names their origin. None where no network has classes to compare.

    Where there is one origin alone, ordinary folds take the place of origins left out, and the doubt about recipes
    cannot be measured: it is then `UNKNOWN_DOUBT`.
    """
    usable = samples.take(np.flatnonzero([rows.count >= FEWEST_CLASSES for rows in samples.class_rows]))
    if len(set(usable.y.tolist())) < 2:
        return None
    views = _fit(usable)
    apart = _folds(usable, folds, seed)
    if not apart:
        return General(*views, Calibration(), UNKNOWN_DOUBT, {ALL: Kind(np.zeros(0), 0.5)})
    held = out_of_fold(usable, _judge, apart)[0]
    calibration = fit_calibration(held, usable.y)
    logit = calibration.logit(held)
    return General(*views, calibration, _doubt(usable, logit), _kinds(usable, logit))


def _judge(train: Samples) -> Judge:
    return partial(_raw, _fit(train))


def _raw(views: tuple[Alternatives, Linear], samples: Samples) -> Array:
    return np.array([raw_logit(*views, rows) for rows in samples.class_rows])


def _fit(samples: Samples) -> tuple[Alternatives, Linear]:
    # Of several targets none is "the" one: the sum over classes says it.
    targets = [None if each is None or each.others else each.target for each in samples.targets]
    weight, table = balanced(samples), np.stack([numbers(rows) for rows in samples.class_rows])
    alternatives = fit_alternatives(samples.class_rows, samples.y, targets, weight)
    return alternatives, fit_linear(table, samples.y, PRIOR_VARIANCE, weight)


def balanced(samples: Samples) -> Array:
    """Weights that add up to the number of samples, in every origin to the same for either label, and over an origin of
    n networks to what n / (n + `WELL_KNOWN`) is beside those of the others: few networks are no recipe yet."""
    origins = samples.recipe or ("",) * len(samples)
    sizes = {name: origins.count(name) for name in set(origins)}
    cells = list(zip(origins, samples.y.tolist(), strict=True))
    share = {cell: sizes[cell[0]] / (sizes[cell[0]] + WELL_KNOWN) / cells.count(cell) for cell in set(cells)}
    weights = np.array([share[cell] for cell in cells])
    return np.asarray(weights * len(samples) / weights.sum())


def _folds(samples: Samples, folds: int, seed: int) -> tuple[Fold, ...]:
    """Every origin left out by itself; where what is left is too little to learn from, its networks in ordinary folds,
    each judged by all others."""
    origins = np.array(samples.recipe or ("",) * len(samples))
    found: list[Fold] = []
    for name in sorted(set(origins.tolist())):
        own, rest = np.flatnonzero(origins == name), np.flatnonzero(origins != name)
        if len(rest) >= FEWEST_OTHERS and len(set(samples.y[rest].tolist())) == 2:
            found.append(Fold(0, len(found), rest, own, name))
            continue
        alone = samples.take(own)
        for fold in inner_folds(alone, alone.architecture, folds, seed):
            train = np.concatenate([rest, own[fold.train]])
            found.append(Fold(0, len(found), train, own[fold.test], name))
    tested = sum(len(fold.test) for fold in found)
    return tuple(found) if tested == len(samples) else ()


def _doubt(samples: Samples, logit: Array) -> float:
    """How much the logit's shift differs from origin to origin beyond chance (DerSimonian and Laird 1986)."""
    shifts, errors = [], []
    for origin in sorted(set(samples.recipe)):
        own = np.array([name == origin for name in samples.recipe])
        shift, error = _shift(logit[own], samples.y[own])
        shifts.append(shift)
        errors.append(error)
    if len(shifts) < 2:
        return UNKNOWN_DOUBT
    weight = 1 / np.square(errors)
    mean = float((weight * shifts).sum() / weight.sum())
    excess = float((weight * np.square(np.array(shifts) - mean)).sum()) - (len(shifts) - 1)
    between = excess / float(weight.sum() - np.square(weight).sum() / weight.sum())
    return float(np.sqrt(max(between, LEAST_DOUBT**2)))


def _shift(logit: Array, y: NDArray[np.int64]) -> tuple[float, float]:
    """What is to be added to these logits to make them right on average, and its standard error."""
    shift = 0.0
    for _ in range(30):
        p = 1 / (1 + np.exp(-(logit + shift)))
        slope = float((p * (1 - p)).sum()) + 1.0  # a weak pull to no shift
        shift = float(np.clip(shift + (float((y - p).sum()) - shift) / slope, -_MOST_SHIFT, _MOST_SHIFT))
    return shift, 1 / np.sqrt(slope)


def _kinds(samples: Samples, logit: Array) -> dict[str, Kind]:
    kinds = np.array([kind_of(rows) for rows in samples.class_rows])
    found = {ALL: measured_kind(logit, samples.y)}
    for name in sorted(set(kinds.tolist())):
        own = kinds == name
        if int((samples.y[own] == 0).sum()) >= FEWEST_CLEAN and int(samples.y[own].sum()):
            found[name] = measured_kind(logit[own], samples.y[own])
    return found
