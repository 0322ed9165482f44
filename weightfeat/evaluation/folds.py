"""Who is tested when: repeated stratified folds, and folds that hold out a whole architecture or family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weightfeat.errors import BadRound

Indices = NDArray[np.int64]

# Draws for different purposes never share a stream: tuning does not see the folds that are reported.
REPORT_STREAM = 0
SEARCH_STREAM = 1
THINNING_STREAM = 2


@dataclass(frozen=True, eq=False)
class Fold:
    """Row numbers to train on and to test on; the test rows of one repeat are every model exactly once."""

    repeat: int
    index: int
    train: Indices
    test: Indices
    name: str = ""


def stratified_folds(
    labels: ArrayLike,
    architectures: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    n_folds: int = 5,
    n_repeats: int = 3,
    seed: int = 0,
    stream: int = REPORT_STREAM,
) -> tuple[Fold, ...]:
    """`n_repeats` partitions of the models into `n_folds` test sets, drawn from (seed, stream) alone.

    Every test set holds as even a share of each label x architecture, then of each label, as the counts
    allow. Models of one group (same base network, same seed, one pair of a design) are always tested together. Works
    down to two groups a label, since every training set then still holds both labels.

    Raises BadRound where a label is absent or has one group only, or there are fewer groups than folds.
    """
    y = np.asarray(labels, dtype=np.int64)
    units = _units(groups, y.size)
    _check(y, architectures, units, n_folds)
    folds: list[Fold] = []
    for repeat in range(n_repeats):
        rng = np.random.default_rng([seed, stream, repeat])
        fold_of = _deal(y, architectures, units, n_folds, rng)
        for index in range(n_folds):
            train, test = np.flatnonzero(fold_of != index), np.flatnonzero(fold_of == index)
            _require_both_labels(
                y[train], f"fold {index + 1}", "make the groups smaller or ask for more folds"
            )
            folds.append(Fold(repeat, index, train, test, f"{repeat + 1}.{index + 1}"))
    return tuple(folds)


def leave_one_out_folds(
    labels: ArrayLike, held_out: Sequence[str], groups: Sequence[str] | None = None
) -> tuple[Fold, ...]:
    """One fold for each value of `held_out` (architectures, families): tested on it, trained on all else.

    A model whose group also occurs among the tested ones is left out of that training set.
    Raises BadRound with fewer than two values, or where the rest lacks a label.
    """
    y = np.asarray(labels, dtype=np.int64)
    values = np.asarray(held_out, dtype=object)
    names = sorted(set(held_out))
    if len(names) < 2:
        raise BadRound(
            f"only {names} occurs",
            where="leave-one-out",
            expected="two or more architectures",
            remedy="add models or use stratified folds",
        )
    folds = []
    for index, name in enumerate(names):
        test = values == name
        train = _outside(test, ~test, groups)
        _require_both_labels(y[train], f"leave-one-out of {name}", "add models of other architectures")
        folds.append(Fold(0, index, train, np.flatnonzero(test), name))
    return tuple(folds)


def later_folds(labels: ArrayLike, stages: Indices, groups: Sequence[str] | None = None) -> tuple[Fold, ...]:
    """A fold for each stage of a set that grew, (n,) from 0: tested on what joined at it, learned from what was there.

    Before stage 0 there was nothing: those models are tested, so that every model is, by all that came after.
    A model whose group also occurs among the tested ones is not learned from.
    Raises BadRound where what was there has one label only.
    """
    y = np.asarray(labels, dtype=np.int64)
    folds = []
    for index, stage in enumerate(sorted(set(stages.tolist()))):
        test = stages == stage
        train = _outside(test, stages < stage if stage else ~test, groups)
        _require_both_labels(y[train], f"stage {stage}", "give lists that name more of the networks")
        folds.append(Fold(0, index, train, np.flatnonzero(test), f"stage {stage}"))
    return tuple(folds)


def thinned(
    folds: Sequence[Fold],
    labels: ArrayLike,
    architectures: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    share: float,
    seed: int = 0,
) -> tuple[Fold, ...]:
    """The same test sets, each to be judged after learning from about `share` of its training models only.

    What remains holds as even a share of each label x architecture as the counts allow, never a part of a group, and
    contains what remains at any smaller share. Raises BadRound where fewer than two groups of a label remain.
    """
    y = np.asarray(labels, dtype=np.int64)
    units = _units(groups, y.size)
    out = []
    for fold in folds:
        rng = np.random.default_rng([seed, THINNING_STREAM, fold.repeat, fold.index])
        trained = set(fold.train.tolist())
        order = _interleaved([unit for unit in units if int(unit[0]) in trained], y, architectures, rng)
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
    folds: Sequence[Fold],
    labels: ArrayLike,
    architectures: Sequence[str],
    groups: Sequence[str] | None,
    *,
    shares: Sequence[float],
    seed: int = 0,
) -> dict[float, tuple[Fold, ...]]:
    """`thinned` to every share, smallest first, but for those that leave too few models of a label."""
    out = {}
    for share in sorted(shares):
        with suppress(BadRound):
            out[share] = thinned(folds, labels, architectures, groups, share=share, seed=seed)
    return out


def learned_from(folds: Sequence[Fold]) -> float:
    """How many models a fold trains on, in the mean."""
    return float(np.mean([fold.train.size for fold in folds]))


def _interleaved(
    units: list[Indices], y: NDArray[np.int64], architectures: Sequence[str], rng: np.random.Generator
) -> list[Indices]:
    """Units in random order in which every stratum is spread evenly from the first to the last."""
    strata: dict[tuple[int, str], list[Indices]] = {}
    for unit in units:
        strata.setdefault((int(y[unit[0]]), architectures[unit[0]]), []).append(unit)
    placed = []
    for _, members in sorted(strata.items()):
        start = rng.random()
        ranks = rng.permutation(len(members))
        placed += [((rank + start) / len(members), unit) for rank, unit in zip(ranks, members, strict=True)]
    return [unit for _, unit in sorted(placed, key=lambda pair: pair[0])]


def _units(groups: Sequence[str] | None, n: int) -> list[Indices]:
    """Row numbers of each group, by first occurrence; every row alone where no groups are given."""
    if groups is None:
        return [np.array([i]) for i in range(n)]
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    return [np.array(rows) for rows in members.values()]


def _outside(
    test: NDArray[np.bool_], known: NDArray[np.bool_], groups: Sequence[str] | None
) -> NDArray[np.int64]:
    """Row numbers of the `known` models whose group does not occur among those of `test`."""
    if groups is not None:
        kinds = np.asarray(groups, dtype=object)
        known = known & ~np.isin(kinds, kinds[test])
    return np.flatnonzero(known)


def _check(y: NDArray[np.int64], architectures: Sequence[str], units: list[Indices], n_folds: int) -> None:
    if len(architectures) != y.size or sum(map(len, units)) != y.size:
        raise ValueError("labels, architectures and groups must name the same models")
    if n_folds < 2:
        raise ValueError("at least two folds are needed")
    for label, name in enumerate(("clean", "trojaned")):
        count = sum(1 for rows in units if label in y[rows])
        if count < 2:
            raise BadRound(
                f"{count} independent {name} models",
                where="labels",
                expected="at least two clean and two trojaned ones",
                remedy="add models",
            )
    if len(units) < n_folds:
        raise BadRound(
            f"{len(units)} independent models for {n_folds} folds",
            where="folds",
            expected="at least one model a fold",
            remedy="ask for fewer folds or add models",
        )


def _require_both_labels(y: NDArray[np.int64], where: str, remedy: str) -> None:
    if len(set(y.tolist())) < 2:
        raise BadRound(
            "the models to train on have one label only",
            where=where,
            expected="clean and trojaned models among them",
            remedy=remedy,
        )


def _deal(
    y: NDArray[np.int64],
    architectures: Sequence[str],
    units: list[Indices],
    n_folds: int,
    rng: np.random.Generator,
) -> Indices:
    """Fold of every row. Units are dealt one by one to the fold where their stratum, then label, is rarest.

    Large groups go first, while there is room to even them out; single models follow stratum by stratum,
    which keeps each stratum's and each label's counts within one of each other.
    """
    strata = [(int(y[i]), architectures[i]) for i in range(y.size)]
    totals = Counter(y.tolist())
    dealt: list[Counter[object]] = [Counter() for _ in range(n_folds)]
    fold_of = np.zeros(y.size, dtype=np.int64)
    shuffled = [units[i] for i in rng.permutation(len(units))]
    for rows in sorted(shuffled, key=lambda rows: (-len(rows), strata[rows[0]])):
        here, labels = Counter(strata[r] for r in rows), Counter(y[rows].tolist())
        tie_break = rng.permutation(n_folds).tolist()
        costs = [
            (
                any(f[label] + n == totals[label] for label, n in labels.items()),  # nothing left to train on
                sum(n * f[stratum] for stratum, n in here.items()),
                sum(n * f[label] for label, n in labels.items()),
                f["all"],
                tie,
            )
            for f, tie in zip(dealt, tie_break, strict=True)
        ]
        best = costs.index(min(costs))
        fold_of[rows] = best
        dealt[best].update([*(strata[r] for r in rows), *y[rows].tolist(), *["all"] * len(rows)])
    return fold_of
