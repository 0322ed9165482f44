"""Folds that hold out a whole architecture, family or stage, and folds that learn from a part of the models."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.folds import THINNING_STREAM, Fold, Indices, require_both_labels, units_of_groups
from weightfeat.detector.samples import Samples
from weightfeat.errors import BadRound


def leave_one_out_folds(samples: Samples, levels: Sequence[str]) -> tuple[Fold, ...]:
    """One fold for each of the `levels`, one a model (its architecture, its data source): tested on it, trained on all
    else.

    A model whose group also occurs among the tested ones is left out of that training set.
    Raises BadRound with fewer than two values, or where the rest lacks a label.
    """
    values, names = np.asarray(levels, dtype=object), sorted(set(levels))
    if len(names) < 2:
        raise BadRound(
            f"only {names} occurs",
            where="leave-one-out",
            expected="two or more of them",
            remedy="add models or use stratified folds",
        )
    folds = []
    for index, name in enumerate(names):
        test = values == name
        train = _outside(samples, test, ~test)
        require_both_labels(samples.y[train], f"leave-one-out of {name}", "add models of other kinds")
        folds.append(Fold(0, index, train, np.flatnonzero(test), name))
    return tuple(folds)


def later_folds(samples: Samples, stages: Indices) -> tuple[Fold, ...]:
    """A fold for each stage of a set that grew, (n,) from 0: tested on what joined at it, learned from what was there.

    Before stage 0 there was nothing: those models are tested, so that every model is, by all that came after.
    A model whose group also occurs among the tested ones is not learned from.
    Raises BadRound where what was there has one label only.
    """
    folds = []
    for index, stage in enumerate(sorted(set(stages.tolist()))):
        test = stages == stage
        train = _outside(samples, test, stages < stage if stage else ~test)
        require_both_labels(samples.y[train], f"stage {stage}", "give lists that name more of the networks")
        folds.append(Fold(0, index, train, np.flatnonzero(test), f"stage {stage}"))
    return tuple(folds)


def thinned(folds: Sequence[Fold], samples: Samples, *, share: float, seed: int = 0) -> tuple[Fold, ...]:
    """The same test sets, each to be judged after learning from about `share` of its training models only.

    What remains holds as even a share of each label x architecture as the counts allow, never a part of a group, and
    contains what remains at any smaller share. Raises BadRound where fewer than two groups of a label remain.
    """
    y, units = samples.y, units_of_groups(samples.group)
    out = []
    for fold in folds:
        rng = np.random.default_rng([seed, THINNING_STREAM, fold.repeat, fold.index])
        trained = set(fold.train.tolist())
        order = _interleaved([unit for unit in units if int(unit[0]) in trained], samples, rng)
        kept = order[: round(share * len(order))]
        for label in (0, 1):
            if sum(label in y[unit] for unit in kept) < 2:
                raise BadRound(
                    f"{share:.1%} of the {len(order)} training models leave fewer than two with label {label}",
                    where=f"fold {fold.name}",
                    expected="two clean and two trojaned ones",
                    remedy="ask for a larger share or add models",
                )
        out.append(replace(fold, train=np.sort(np.concatenate(kept))))
    return tuple(out)


def thinnings(
    folds: Sequence[Fold], samples: Samples, *, shares: Sequence[float], seed: int = 0
) -> dict[float, tuple[Fold, ...]]:
    """`thinned` to every share, smallest first, but for those that leave too few models of a label."""
    out = {}
    for share in sorted(shares):
        with suppress(BadRound):
            out[share] = thinned(folds, samples, share=share, seed=seed)
    return out


def learned_from(folds: Sequence[Fold]) -> float:
    """How many models a fold trains on, in the mean."""
    return float(np.mean([fold.train.size for fold in folds]))


def _interleaved(units: list[Indices], samples: Samples, rng: np.random.Generator) -> list[Indices]:
    """Units in random order in which every stratum is spread evenly from the first to the last."""
    strata: dict[tuple[int, str], list[Indices]] = {}
    for unit in units:
        strata.setdefault((int(samples.y[unit[0]]), samples.architecture[unit[0]]), []).append(unit)
    placed = []
    for _, members in sorted(strata.items()):
        start = rng.random()
        ranks = rng.permutation(len(members))
        placed += [((rank + start) / len(members), unit) for rank, unit in zip(ranks, members, strict=True)]
    return [unit for _, unit in sorted(placed, key=lambda pair: pair[0])]


def _outside(samples: Samples, test: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Row numbers of the `known` models whose group does not occur among those of `test`."""
    kinds = np.asarray(samples.group, dtype=object)
    return np.flatnonzero(known & ~np.isin(kinds, kinds[test]))
