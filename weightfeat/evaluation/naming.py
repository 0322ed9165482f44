"""How often the suspected target class, and source, is the true one: out of fold, by cell, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.classes.models import ClassModels, Suspect, fit_class_models
from weightfeat.detector.classes.targets import Target
from weightfeat.detector.folds import Fold, stratified_folds
from weightfeat.detector.out_of_fold import Judge, out_of_fold
from weightfeat.detector.samples import Samples
from weightfeat.detector.verdict import NAMED_FROM
from weightfeat.evaluation.intervals import Estimate
from weightfeat.evaluation.silence import Row
from weightfeat.evaluation.strata import class_level, trojan_cell
from weightfeat.evaluation.tables import ABSENT, Table
from weightfeat.metaparameters import Metaparameters

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

    @property
    def share(self) -> Estimate:
        """Of the networks, those whose target was found."""
        if not self.networks:
            return Estimate(np.nan, np.nan, np.nan)
        return Estimate(self.target_hits / self.networks, *wilson(self.target_hits, self.networks))


def recoveries(
    suspects: Sequence[Suspect | None],
    targets: Sequence[Target | None],
    class_counts: Sequence[int],
    cells: Sequence[str],
    probabilities: Sequence[float] | None = None,
) -> tuple[Recovery, ...]:
    """One entry a cell and one for all; networks without a named target or a suspect are left out.

    Of several targets any is right. A source counts as right when target and source both are; `paired` networks have
    one or two named sources.
    """
    unknown = [float("nan")] * len(cells)
    known = [
        _Named(cell, suspect, target, len(target.classes) / count, probability)
        for suspect, target, count, cell, probability in zip(
            suspects, targets, class_counts, cells, probabilities or unknown, strict=True
        )
        if suspect is not None and target is not None
    ]
    out = []
    for name in ("all networks", *sorted({one.cell for one in known})):
        mine = [one for one in known if name in ("all networks", one.cell)]
        paired = [one for one in mine if any(each.sources for each in one.target.every)]
        flagged = [one for one in mine if one.probability >= NAMED_FROM]
        hits = sum(one.hit for one in mine), sum(one.hit for one in flagged)
        sources = sum(one.source_hit for one in paired)
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
        return self.suspect.target in self.target.classes

    @property
    def source_hit(self) -> bool:
        return any(
            self.suspect.target == each.target and self.suspect.source in each.sources
            for each in self.target.every
        )


def wilson(hits: float, count: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) with nothing counted."""
    if not count:
        return 0.0, 1.0
    share, square = hits / count, Z * Z / count
    middle = (share + square / 2) / (1 + square)
    half = Z * sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def recover(
    samples: Samples,
    rows: Sequence[Row],
    folds: Sequence[Fold],
    params: Metaparameters,
    probabilities: NDArray[np.float64] | None = None,
) -> tuple[Recovery, ...]:
    """Suspects of every network by class models learned without its fold: over all, by sources, by trigger x sources
    and by number of classes x sources.

    Every repeat of `folds` tests every network once; hits are means over the repeats. `rows` are METADATA's,
    `probabilities` (repeats, n) a detector's, in the same folds.
    """
    cells = [trojan_cell(row, trojaned=bool(y)) for row, y in zip(rows, samples.y, strict=True)]
    attacked = [cell.attacked for cell in cells]
    by_trigger = [f"{cell.trigger} x {cell.attacked}" for cell in cells]
    by_count = [
        f"{class_level(row)} classes x {cell.attacked}" for row, cell in zip(rows, cells, strict=True)
    ]
    found = []
    for repeat, named in enumerate(out_of_fold(samples, partial(_naming, params=params), folds)):
        suspects = [_suspect(*values) for values in named.tolist()]
        p = None if probabilities is None else probabilities[repeat].tolist()
        sources, *crossed = (
            recoveries(suspects, samples.targets, samples.class_counts, names, p)
            for names in (attacked, by_trigger, by_count)
        )
        found.append((*sources, *(each for by in crossed for each in by[1:])))
    return tuple(_mean(of_a_cell) for of_a_cell in zip(*found, strict=True))


def _naming(train: Samples, params: Metaparameters) -> Judge:
    """(n, 3): suspected target, its source, its probability; NaN for what is not named."""
    return partial(_named, fit_class_models(train, params))


def _named(models: ClassModels | None, held: Samples) -> NDArray[np.float64]:
    found = np.full((len(held), 3), np.nan)
    if models is None:
        return found
    for at, rows in enumerate(held.class_rows):
        suspect = models.evidence(rows).suspect
        source = np.nan if suspect.source is None else suspect.source
        found[at] = suspect.target, source, suspect.probability
    return found


def _suspect(target: float, source: float, probability: float) -> Suspect | None:
    if np.isnan(target):
        return None
    return Suspect(int(target), None if np.isnan(source) else int(source), probability)


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


def recovery_table(samples: Samples, rows: Sequence[Row], params: Metaparameters) -> str:
    """What three times five folds recover, as markdown."""
    return as_markdown(recover(samples, rows, stratified_folds(samples), params))


def as_markdown(found: Sequence[Recovery]) -> str:
    """A row a cell."""
    return _table("attacked sources", found).markdown()


def as_lines(found: Sequence[Recovery]) -> list[str]:
    """For a terminal, a line a cell."""
    return _table("target class found", found).terminal()


def _table(heading: str, found: Sequence[Recovery]) -> Table:
    columns = {heading: "", "trojaned": "", "target found": ".4g", "share": ".3f", "by chance": ".1f"}
    columns |= {"source too": "", "of those at 0.5 and above": ""}
    rows = [
        (
            *(r.cell, r.networks, r.target_hits, r.share, r.chance),
            *(_of(r.source_hits, r.paired), _of(r.flagged_hits, r.flagged)),
        )
        for r in found
    ]
    return Table.of(columns, rows)


def _of(hits: float, count: float) -> str:
    return f"{hits:.4g} of {count:.4g}" if count > 0 else ABSENT
