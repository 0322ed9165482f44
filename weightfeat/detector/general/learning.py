"""Learning the general model: an origin counts by how well it is known, and is judged by what the others taught."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from weightfeat.detector.calibration import Calibration, fit_calibration
from weightfeat.detector.classes.models import FEWEST_CLASSES
from weightfeat.detector.classes.targets import Target
from weightfeat.detector.folds import Fold, inner_folds
from weightfeat.detector.general.alternatives import NEXT, Alternatives, fit_alternatives
from weightfeat.detector.general.doubt import UNKNOWN_DOUBT, doubt_between
from weightfeat.detector.general.model import General, kind_of, raw_logit
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


def fit_general(samples: Samples, folds: int, seed: int) -> General | None:
    """Learn from all samples; `recipe` names their origin. None where no network has classes to compare.

    Where there is one origin alone, ordinary folds take the place of origins left out, and the doubt about recipes
    cannot be measured: it is then `UNKNOWN_DOUBT`.
    """
    usable = samples.take(np.flatnonzero([each.count >= FEWEST_CLASSES for each in samples.standings]))
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
    return np.array([raw_logit(*views, each) for each in samples.standings])


def _fit(samples: Samples) -> tuple[Alternatives, Linear]:
    targets = [
        _named(target, each.count) for target, each in zip(samples.targets, samples.standings, strict=True)
    ]
    weight, table = balanced(samples), np.stack([each.numbers for each in samples.standings])
    alternatives = fit_alternatives(samples.standings, samples.y, targets, weight)
    # Where each class is taken for the next none stands out.
    one = np.array([target != NEXT for target in targets])
    return alternatives, fit_linear(table[one], samples.y[one], PRIOR_VARIANCE, weight[one])


def _named(target: Target | None, count: int) -> int | None:
    """The one target, or `NEXT`; of several others none is "the" one, and the sum over all says it."""
    if target is None or not target.others:
        return None if target is None else target.target
    return NEXT if target.is_next_of_all(count) else None


def balanced(samples: Samples) -> Array:
    """Weights that add up to the number of samples, in every origin to the same for either label, and over an origin of
    n networks to what n / (n + `WELL_KNOWN`) is beside those of the others: few networks are no recipe yet."""
    origins = _origins(samples)
    sizes = {name: origins.count(name) for name in set(origins)}
    cells = list(zip(origins, samples.y.tolist(), strict=True))
    share = {cell: sizes[cell[0]] / (sizes[cell[0]] + WELL_KNOWN) / cells.count(cell) for cell in set(cells)}
    weights = np.array([share[cell] for cell in cells])
    return np.asarray(weights * len(samples) / weights.sum())


def _folds(samples: Samples, folds: int, seed: int) -> tuple[Fold, ...]:
    """Every origin left out by itself; where what is left is too little to learn from, its networks in ordinary folds,
    each judged by all others."""
    origins = np.array(_origins(samples))
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
    """Over the factors of how networks were made, or their origins where no more is known."""
    names = sorted({factor for levels in samples.levels for factor in levels})
    factors: dict[str, Sequence[str]] = {
        name: [levels.get(name, "") for levels in samples.levels] for name in names
    }
    return doubt_between(logit, samples.y, samples.group, factors or {"origin": _origins(samples)})


def _origins(samples: Samples) -> Sequence[str]:
    return samples.recipe or ("",) * len(samples)


def _kinds(samples: Samples, logit: Array) -> dict[str, Kind]:
    kinds = np.array([kind_of(each) for each in samples.standings])
    found = {ALL: measured_kind(logit, samples.y)}
    for name in sorted(set(kinds.tolist())):
        own = kinds == name
        if int((samples.y[own] == 0).sum()) >= FEWEST_CLEAN and int(samples.y[own].sum()):
            found[name] = measured_kind(logit[own], samples.y[own])
    return found
