"""How often the suspected target class, and source, is the true one: out of fold, by cell, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from weightfeat.classmodel.evidence import ClassEvidence, Suspect
from weightfeat.classmodel.rows import class_rows
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.classmodel.targets import Target, targets_of
from weightfeat.evaluation.folds import Fold, stratified_folds
from weightfeat.evaluation.strata import trojan_cell
from weightfeat.labelled import LabelledSet

Z = 1.96


@dataclass(frozen=True)
class Recovery:
    """Hits among `networks` trojaned ones of a cell; `chance` is the expected number of hits of a blind guess."""

    cell: str
    networks: int
    target_hits: int
    chance: float
    paired: int
    source_hits: int


def recoveries(
    suspects: Sequence[Suspect | None],
    targets: Sequence[Target | None],
    class_counts: Sequence[int],
    cells: Sequence[str],
) -> tuple[Recovery, ...]:
    """One entry a cell and one for all; networks without a named target or a suspect are left out.

    A source counts as right when target and source both are; `paired` networks have one or two named sources.
    """
    known = [
        (suspect, target, count, cell)
        for suspect, target, count, cell in zip(suspects, targets, class_counts, cells, strict=True)
        if suspect is not None and target is not None
    ]
    out = []
    for name in ("all networks", *sorted({k[3] for k in known})):
        mine = [k for k in known if name in ("all networks", k[3])]
        hit = [s.target == t.target for s, t, _, _ in mine]
        both = [h and s.source in t.sources for h, (s, t, _, _) in zip(hit, mine, strict=True) if t.sources]
        chance = sum(1 / count for _, _, count, _ in mine)
        out.append(Recovery(name, len(mine), sum(hit), chance, len(both), sum(both)))
    return tuple(out)


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927); (0, 1) with nothing counted."""
    if not count:
        return 0.0, 1.0
    share, square = hits / count, Z * Z / count
    middle = (share + square / 2) / (1 + square)
    half = Z * sqrt(share * (1 - share) / count + square / (4 * count)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def recover(
    labelled: LabelledSet, folds: Sequence[Fold], settings: ClassSettings | None = None
) -> tuple[Recovery, ...]:
    """Suspects of every network by class models learned without its fold: over all, by sources, by trigger x sources.

    `folds` are those of one repeat, which test every network once.
    """
    targets = targets_of(labelled)
    rows = [class_rows(digest) for digest in labelled.digests]
    suspects: list[Suspect | None] = [None] * len(rows)
    for fold in folds:
        trained = fold.train.tolist()
        evidence = ClassEvidence(settings).fit(
            [rows[i] for i in trained], [labelled.labels[i] for i in trained], [targets[i] for i in trained]
        )
        for held in fold.test.tolist():
            suspects[held] = evidence.judge(rows[held])[1]
    metadata = labelled.rows
    cells = [trojan_cell(row, trojaned=bool(y)) for row, y in zip(metadata, labelled.labels, strict=True)]
    counts = [row.count for row in rows]
    sources = recoveries(suspects, targets, counts, [cell.attacked for cell in cells])
    crossed = [f"{cell.trigger} x {cell.attacked}" for cell in cells]
    return (*sources, *recoveries(suspects, targets, counts, crossed)[1:])


def recovery_table(labelled: LabelledSet, settings: ClassSettings | None = None) -> str:
    """What five folds recover, as markdown."""
    folds = stratified_folds(labelled.labels, labelled.architectures, labelled.groups, n_repeats=1)
    return as_markdown(recover(labelled, folds, settings))


def as_markdown(found: Sequence[Recovery]) -> str:
    """A row a cell."""
    lines = [
        "| attacked sources | trojaned networks | target found | share | 95 % | by chance | source found too |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in found:
        low, high = wilson(r.target_hits, r.networks)
        share = r.target_hits / r.networks if r.networks else np.nan
        lines.append(
            f"| {r.cell} | {r.networks} | {r.target_hits} | {share:.2f} | {low:.2f} to {high:.2f} "
            f"| {r.chance:.1f} | {f'{r.source_hits} of {r.paired}' if r.paired else '-'} |"
        )
    return "\n".join(lines) + "\n"


def as_lines(found: Sequence[Recovery]) -> list[str]:
    """For a terminal, a line a cell."""
    width = max(len("target class found"), *(len(r.cell) + 4 for r in found))
    lines = [f"{'target class found':<{width}} trojaned  share  95 %            by chance  source too"]
    for r in found:
        low, high = wilson(r.target_hits, r.networks)
        share = f"{r.target_hits / r.networks:.3f}" if r.networks else "-"
        source = f"{r.source_hits} of {r.paired}" if r.paired else "-"
        lines.append(
            f"{'    ' + r.cell:<{width}} {r.networks:>8}  {share:>5}  [{low:.3f}, {high:.3f}]"
            f"  {r.chance / max(r.networks, 1):>9.3f}  {source}"
        )
    return lines
