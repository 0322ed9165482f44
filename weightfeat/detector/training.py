"""Learning: class models, trees, calibration on out-of-fold logits, and the measure of the population.

What a network is judged by while the calibration is fitted has learned nothing of that network, nor of its group.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.calibration import Calibration, fit_calibration, sigmoid
from weightfeat.detector.classes.joint import Joint
from weightfeat.detector.classes.models import ClassModels, families_of, fit_class_models, fit_target_model
from weightfeat.detector.familiarity import Familiarity, fit_familiarity
from weightfeat.detector.folds import Fold, inner_folds
from weightfeat.detector.general.learning import fit_general
from weightfeat.detector.general.model import General
from weightfeat.detector.growing import fit_forest
from weightfeat.detector.kinds import measured_kind
from weightfeat.detector.learned import Learned, mixed, with_relative
from weightfeat.detector.normaliser import fit_normaliser
from weightfeat.detector.novelty import fit_population, with_reference
from weightfeat.detector.out_of_fold import Judge, out_of_fold
from weightfeat.detector.samples import Samples
from weightfeat.errors import BadRound
from weightfeat.features.summaries import Array
from weightfeat.metaparameters import Metaparameters

__all__ = ["OutOfFold", "learn"]


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """For every training network, what models that had not seen it said, in the caller's order; None without folds."""

    fold: NDArray[np.int64] | None = None
    logit: Array | None = None
    probability: Array | None = None


def learn(samples: Samples, params: Metaparameters, threads: int = 1) -> tuple[Learned, OutOfFold]:
    """Fit everything. The order of the samples plays no part: they are first sorted by content.

    Networks of a named `recipe` are those that others made, of whatever recipes: the general model learns from all, all
    else from the population alone, which names none.

    Raises BadRound where the labels hold one class only or there are no columns.
    """
    from threadpoolctl import threadpool_limits

    general = _learn_general(samples, params)
    samples = samples.population
    _check(samples, params)
    order = _order(samples, params)
    samples = _apart(samples.take(order))
    folds = inner_folds(samples, samples.architecture, params.train_folds, params.train_seed)
    # One thread in linear algebra: its sums depend on the number of threads in the last bits.
    with threadpool_limits(limits=1, user_api="blas"):
        classes, odds = _learn_classes(samples, params)
        learned = replace(_fit_trees(samples, params, threads), classes=classes, general=general)
        learned = replace(learned, familiarity=_learn_familiarity(samples, params))
        learned = replace(learned, training=_described(samples, learned.feature_names, params, len(folds)))
        if not folds:
            return learned, OutOfFold()
        held = out_of_fold(samples, partial(_trees_judge, params=params, threads=threads), folds)[0]
    logit = mixed(held[:, 0], odds, 1 - params.train_class_weight)
    calibration = fit_calibration(logit, samples.y)
    population = with_reference(learned.population, held[:, 1])
    back, probability = np.argsort(order), sigmoid(calibration.logit(logit))
    found = OutOfFold(_numbers(folds, len(samples))[back], logit[back], probability[back])
    own = measured_kind(calibration.logit(logit), samples.y)
    return replace(learned, calibration=calibration, population=population, own=own), found


def _learn_familiarity(samples: Samples, params: Metaparameters) -> Familiarity | None:
    """What training usually was, architecture by architecture; None for a table."""
    training = samples.rows(params.blocks).training
    return None if training is None else fit_familiarity(samples.architecture, training)


def _learn_general(samples: Samples, params: Metaparameters) -> General | None:
    """What holds in every recipe; None for a table, or where class evidence is off."""
    import scipy.linalg  # noqa: F401  # brings a BLAS of its own, which a limit set before it does not reach
    from threadpoolctl import threadpool_limits

    if not (params.train_class_evidence and samples.networks):
        return None
    with threadpool_limits(limits=1, user_api="blas"):
        return fit_general(samples, params.train_folds, params.train_seed)


def _learn_classes(samples: Samples, params: Metaparameters) -> tuple[ClassModels | None, Array | None]:
    """The class models with a member for each fold, and the odds that each gives the networks of its fold.

    None for both where there is nothing to learn from; odds are NaN where nothing was learned without a network.
    """
    if not (params.train_class_evidence and samples.networks):
        return None, None
    models, families, members = fit_class_models(samples, params), families_of(samples), list[Joint]()
    if models is None:
        return None, None

    def fit(train: Samples) -> Judge:
        fitted = fit_target_model(train, params, families)
        if fitted is None:
            return lambda held: np.full(len(held), np.nan)
        members.append(fitted.target)
        return lambda held: fitted.odds(held.class_rows)

    # Folds are balanced over how many sources were attacked: they shape what a class looks like.
    strata = ["" if target is None else str(len(target.sources)) for target in samples.targets]
    folds = inner_folds(samples, strata, params.train_folds, params.train_seed)
    odds = out_of_fold(samples, fit, folds)[0] if folds else np.full(len(samples), np.nan)
    return replace(models, members=tuple(members)), odds


def _fit_trees(samples: Samples, params: Metaparameters, threads: int) -> Learned:
    """Normaliser, trees and population, whose probabilities are neither calibrated nor of classes yet."""
    rows = samples.rows(params.blocks)
    relative = samples.relative(params.blocks) if params.train_keep_raw else ()
    normaliser = fit_normaliser(rows.values, rows.architecture, rows.family, params.train_shrinkage)
    z = normaliser.transform(rows.values, rows.architecture, rows.family)
    forest = fit_forest(with_relative(z, rows, relative), samples.y, params, threads)
    return Learned(params, rows.names, relative, normaliser, forest, Calibration(), fit_population(z))


def _trees_judge(train: Samples, params: Metaparameters, threads: int) -> Judge:
    """Everything, the normalisation too, is fitted without the networks that are held out: (n, 2), the trees' score
    and the distance to the population."""
    fitted = _fit_trees(train, params, threads)

    def judge(held: Samples) -> Array:
        rows = held.rows(params.blocks)
        return np.stack([fitted.logit(rows), fitted.novelty(rows).distance], axis=1)

    return judge


def _numbers(folds: Sequence[Fold], count: int) -> NDArray[np.int64]:
    """The fold that each network is held out in."""
    numbers = np.zeros(count, dtype=np.int64)
    for fold in folds:
        numbers[fold.test] = fold.index
    return numbers


def _check(samples: Samples, params: Metaparameters) -> None:
    y = samples.y
    if len(set(y.tolist())) < 2:
        raise BadRound(
            f"one class only in the labels ({len(y)} networks, {int(y.sum())} trojaned)",
            where="labels",
            expected="clean and trojaned networks, at least one of each",
            remedy="add networks of the other class",
        )
    if not samples.rows(params.blocks).names:
        raise BadRound(
            "there are no features to learn from",
            where="feature blocks",
            expected="at least one block",
            remedy="switch a train_block_ metaparameter on",
        )


def _order(samples: Samples, params: Metaparameters) -> NDArray[np.int64]:
    """Networks by architecture, family, label and group, then by their values, the first column first.

    By values and not by a hash of them, so that a difference in the last bits, as another processor makes it, deals
    the rows out to folds and bags as before. A group that is no more than a network's name plays no part.
    """
    rows = samples.rows(params.blocks)
    own = [""] * len(samples) if samples.group == samples.names else samples.group
    places = list(zip(rows.architecture, rows.family, samples.y.tolist(), own, strict=True))
    values = np.where(np.isnan(rows.values), -np.inf, rows.values).tolist()
    return np.array(sorted(range(len(samples)), key=lambda at: (places[at], values[at])), dtype=np.int64)


def _apart(samples: Samples) -> Samples:
    """Under groups that depend on the order alone where each network is its own: names must not deal folds."""
    if samples.group != samples.names:
        return samples
    return replace(samples, group=tuple(str(at) for at in range(len(samples))))


def _described(samples: Samples, names: Sequence[str], params: Metaparameters, folds: int) -> dict[str, Any]:
    """What the ordered samples were; `sha256` is of their values and labels."""
    rows = samples.rows(params.blocks)
    canonical = np.where(np.isnan(rows.values), np.nan, rows.values + 0.0)  # one NaN, one zero
    words = "\n".join([*names, *rows.architecture, *rows.family])
    return {
        "networks": len(samples),
        "trojaned": int(samples.y.sum()),
        "architectures": dict(sorted(Counter(rows.architecture).items())),
        "calibration_folds": folds,
        "sha256": hashlib.sha256(words.encode() + canonical.tobytes() + samples.y.tobytes()).hexdigest(),
    }
