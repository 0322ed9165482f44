"""Who is tested when: folds that hold as even a share of everything as the counts allow, groups never split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from weightfeat.errors import BadRound

if TYPE_CHECKING:
    from weightfeat.detector.samples import Samples

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
    samples: Samples, *, n_folds: int = 5, n_repeats: int = 3, seed: int = 0, stream: int = REPORT_STREAM
) -> tuple[Fold, ...]:
    """`n_repeats` partitions of the models into `n_folds` test sets, drawn from (seed, stream) alone.

    Every test set holds as even a share of each label x architecture, then of each label, as the counts
    allow. Models of one group (same base network, same seed, one pair of a design) are always tested together. Works
    down to two groups a label, since every training set then still holds both labels.

    Raises BadRound where a label is absent or has one group only, or there are fewer groups than folds.
    """
    y, units = samples.y, units_of_groups(samples.group)
    _check(y, units, n_folds)
    folds: list[Fold] = []
    for repeat in range(n_repeats):
        rng = np.random.default_rng([seed, stream, repeat])
        fold_of = _deal(y, samples.architecture, units, n_folds, rng)
        for index in range(n_folds):
            train, test = np.flatnonzero(fold_of != index), np.flatnonzero(fold_of == index)
            require_both_labels(
                y[train], f"fold {index + 1}", "make the groups smaller or ask for more folds"
            )
            folds.append(Fold(repeat, index, train, test, f"{repeat + 1}.{index + 1}"))
    return tuple(folds)


def inner_folds(samples: Samples, strata: Sequence[str], n_folds: int, seed: int) -> tuple[Fold, ...]:
    """One partition for what a detector fits out of fold inside: none where a label is in fewer than two groups,
    fewer folds where in fewer groups than `n_folds`."""
    fold_of = assign_folds(samples.y, strata, samples.group, n_folds, seed)
    if fold_of is None:
        return ()
    numbers = range(int(fold_of.max()) + 1)
    return tuple(Fold(0, n, np.flatnonzero(fold_of != n), np.flatnonzero(fold_of == n)) for n in numbers)


def check_folds(folds: Sequence[Fold], count: int) -> None:
    """ValueError unless every repeat tests each of `count` models once, and no fold trains on what it tests."""
    if not folds:
        raise ValueError("no folds were given")
    for fold in folds:
        if np.intersect1d(fold.train, fold.test).size:
            raise ValueError(f"fold {fold.name} trains on models it tests")
    for repeat in range(1 + max(fold.repeat for fold in folds)):
        tested = np.concatenate(
            [fold.test for fold in folds if fold.repeat == repeat] or [np.zeros(0, np.int64)]
        )
        if not np.array_equal(np.sort(tested), np.arange(count)):
            raise ValueError(f"repeat {repeat} does not test every model exactly once")


def assign_folds(
    y: NDArray[np.int64], strata: Sequence[str], groups: Sequence[str], folds: int, seed: int
) -> NDArray[np.int64] | None:
    """A fold for every row, dealt as `stratified_folds` deals: over label x stratum, groups never split.

    Fewer folds where a label occurs in fewer groups than `folds`; None where it occurs in only one.
    """
    units = units_of_groups(groups)
    labels = [set(y[rows].tolist()) for rows in units]
    possible = min(folds, *(sum(label in found for found in labels) for label in (0, 1)))
    return _deal(y, strata, units, possible, np.random.default_rng(seed)) if possible > 1 else None


def units_of_groups(groups: Sequence[str]) -> list[Indices]:
    """Row numbers of each group, by first occurrence."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    return [np.array(rows) for rows in members.values()]


def _check(y: NDArray[np.int64], units: list[Indices], n_folds: int) -> None:
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


def require_both_labels(y: NDArray[np.int64], where: str, remedy: str) -> None:
    if len(set(y.tolist())) < 2:
        raise BadRound(
            "the models to train on have one label only",
            where=where,
            expected="clean and trojaned models among them",
            remedy=remedy,
        )


def _deal(
    y: NDArray[np.int64],
    kinds: Sequence[str],
    units: list[Indices],
    n_folds: int,
    rng: np.random.Generator,
) -> Indices:
    """Fold of every row. Units are dealt one by one to the fold where their label x kind, then label, is rarest.

    Large groups go first, while there is room to even them out; single models follow stratum by stratum,
    which keeps each stratum's and each label's counts within one of each other.
    """
    strata = [(int(y[i]), kinds[i]) for i in range(y.size)]
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
