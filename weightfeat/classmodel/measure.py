"""How often the suspected target class, and source, is the true one: out of fold, by cell, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from weightfeat.classmodel.evidence import NAMED_FROM, ClassEvidence, Suspect
from weightfeat.classmodel.rows import ClassRows, class_rows
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.classmodel.targets import Target, targets_of
from weightfeat.evaluation.folds import Fold, stratified_folds
from weightfeat.evaluation.strata import class_level, trojan_cell
from weightfeat.rounds.labelled import LabelledSet

Z = 1.96


@dataclass(frozen=True)
class Recovery:
    """Hits among `networks` trojaned ones of a cell, means over repeats; `chance` is what a blind guess would hit.

    `flagged` networks have a probability of one half or more, where a scan names the suspect; both counts are NaN
    where no probabilities were given.
    """

    cell: str
    networks: int
    target_hits: float
    chance: float
    paired: int
    source_hits: float
    flagged: float
    flagged_hits: float


def recoveries(
    suspects: Sequence[Suspect | None],
    targets: Sequence[Target | None],
    class_counts: Sequence[int],
    cells: Sequence[str],
    probabilities: Sequence[float] | None = None,
) -> tuple[Recovery, ...]:
    """One entry a cell and one for all; networks without a named target or a suspect are left out.

    A source counts as right when target and source both are; `paired` networks have one or two named sources.
    """
    unknown = [float("nan")] * len(cells)
    known = [
        _Named(cell, suspect, target, 1 / count, probability)
        for suspect, target, count, cell, probability in zip(
            suspects, targets, class_counts, cells, probabilities or unknown, strict=True
        )
        if suspect is not None and target is not None
    ]
    out = []
    for name in ("all networks", *sorted({one.cell for one in known})):
        mine = [one for one in known if name in ("all networks", one.cell)]
        paired = [one for one in mine if one.target.sources]
        flagged = [one for one in mine if one.probability >= NAMED_FROM]
        hits = sum(one.hit for one in mine), sum(one.hit for one in flagged)
        sources = sum(one.hit and one.suspect.source in one.target.sources for one in paired)
        counted = (len(flagged), hits[1]) if probabilities is not None else (float("nan"), float("nan"))
        chance = sum(one.chance for one in mine)
        out.append(Recovery(name, len(mine), hits[0], chance, len(paired), sources, *counted))
    return tuple(out)


@dataclass(frozen=True)
class _Named:
    """A trojaned network whose target METADATA names, and its suspect."""

    cell: str
    suspect: Suspect
    target: Target
    chance: float
    probability: float

    @property
    def hit(self) -> bool:
        return self.suspect.target == self.target.target


def wilson(hits: float, count: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) with nothing counted."""
    if not count:
        return 0.0, 1.0
    share, square = hits / count, Z * Z / count
    middle = (share + square / 2) / (1 + square)
    half = Z * sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def recover(
    labelled: LabelledSet,
    folds: Sequence[Fold],
    settings: ClassSettings | None = None,
    probabilities: NDArray[np.float64] | None = None,
) -> tuple[Recovery, ...]:
    """Suspects of every network by class models learned without its fold: over all, by sources, by trigger x sources
    and by number of classes x sources.

    Every repeat of `folds` tests every network once; hits are means over the repeats. `probabilities` (repeats, n) are
    a detector's, in the same folds.
    """
    targets = targets_of(labelled)
    rows = [class_rows(digest) for digest in labelled.digests]
    pairs = zip(labelled.rows, labelled.labels, strict=True)
    cells = [trojan_cell(row, trojaned=bool(y)) for row, y in pairs]
    counts = [row.count for row in rows]
    attacked = [cell.attacked for cell in cells]
    by_trigger = [f"{cell.trigger} x {cell.attacked}" for cell in cells]
    by_count = [
        f"{class_level(row)} classes x {cell.attacked}"
        for row, cell in zip(labelled.rows, cells, strict=True)
    ]
    found = []
    for repeat in sorted({fold.repeat for fold in folds}):
        own = [fold for fold in folds if fold.repeat == repeat]
        suspects = _suspects(rows, labelled.labels, targets, own, settings)
        p = None if probabilities is None else probabilities[repeat].tolist()
        sources, *crossed = (
            recoveries(suspects, targets, counts, names, p) for names in (attacked, by_trigger, by_count)
        )
        found.append((*sources, *(each for by in crossed for each in by[1:])))
    return tuple(_mean(of_a_cell) for of_a_cell in zip(*found, strict=True))


def _suspects(
    rows: Sequence[ClassRows],
    labels: Sequence[int],
    targets: Sequence[Target | None],
    folds: Sequence[Fold],
    settings: ClassSettings | None,
) -> list[Suspect | None]:
    """Of every network, by what was learned without its fold."""
    suspects: list[Suspect | None] = [None] * len(rows)
    for fold in folds:
        trained = fold.train.tolist()
        evidence = ClassEvidence(settings).fit(
            [rows[i] for i in trained], [labels[i] for i in trained], [targets[i] for i in trained]
        )
        for held in fold.test.tolist():
            suspects[held] = evidence.judge(rows[held])[1]
    return suspects


def _mean(repeats: Sequence[Recovery]) -> Recovery:
    """Of one cell."""

    def mean(name: str) -> float:
        return float(np.mean([getattr(found, name) for found in repeats]))

    return replace(
        repeats[0],
        target_hits=mean("target_hits"),
        source_hits=mean("source_hits"),
        flagged=mean("flagged"),
        flagged_hits=mean("flagged_hits"),
    )


def recovery_table(labelled: LabelledSet, settings: ClassSettings | None = None) -> str:
    """What three times five folds recover, as markdown."""
    folds = stratified_folds(labelled.labels, labelled.architectures, labelled.groups)
    return as_markdown(recover(labelled, folds, settings))


def as_markdown(found: Sequence[Recovery]) -> str:
    """A row a cell."""
    lines = [
        "| attacked sources | trojaned networks | target found | share | 95 % | by chance | source found too "
        "| found of those at 0.5 and above |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in found:
        low, high = wilson(r.target_hits, r.networks)
        share = r.target_hits / r.networks if r.networks else np.nan
        lines.append(
            f"| {r.cell} | {r.networks} | {r.target_hits:.4g} | {share:.2f} | {low:.2f} to {high:.2f} "
            f"| {r.chance:.1f} | {_of(r.source_hits, r.paired)} | {_of(r.flagged_hits, r.flagged)} |"
        )
    return "\n".join(lines) + "\n"


def as_lines(found: Sequence[Recovery]) -> list[str]:
    """For a terminal, a line a cell."""
    width = max(len("target class found"), *(len(r.cell) + 4 for r in found))
    lines = [
        f"{'target class found':<{width}} trojaned  share  95 %            by chance  "
        f"{'source too':<14}  of those at 0.5 and above"
    ]
    for r in found:
        low, high = wilson(r.target_hits, r.networks)
        share = f"{r.target_hits / r.networks:.3f}" if r.networks else "-"
        lines.append(
            f"{'    ' + r.cell:<{width}} {r.networks:>8}  {share:>5}  [{low:.3f}, {high:.3f}]"
            f"  {r.chance / max(r.networks, 1):>9.3f}  {_of(r.source_hits, r.paired):<14}"
            f"  {_of(r.flagged_hits, r.flagged)}"
        )
    return lines


def _of(hits: float, count: float) -> str:
    return f"{hits:.4g} of {count:.4g}" if count > 0 else "-"
