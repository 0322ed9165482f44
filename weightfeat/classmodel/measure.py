"""How often the suspected target class, and source, is the true one: out of fold, by cell, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from weightfeat.classmodel.evidence import ClassEvidence, Suspect
from weightfeat.classmodel.rows import ClassRows, class_rows
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.classmodel.targets import Target, targets_of
from weightfeat.evaluation.folds import Fold, stratified_folds
from weightfeat.evaluation.strata import trojan_cell
from weightfeat.labelled import LabelledSet

Z = 1.96


@dataclass(frozen=True)
class Recovery:
    """Hits among `networks` trojaned ones of a cell, means over repeats; `chance` is what a blind guess would hit."""

    cell: str
    networks: int
    target_hits: float
    chance: float
    paired: int
    source_hits: float


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


def wilson(hits: float, count: int) -> tuple[float, float]:
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

    Every repeat of `folds` tests every network once; hits are means over the repeats.
    """
    targets = targets_of(labelled)
    rows = [class_rows(digest) for digest in labelled.digests]
    pairs = zip(labelled.rows, labelled.labels, strict=True)
    cells = [trojan_cell(row, trojaned=bool(y)) for row, y in pairs]
    counts = [row.count for row in rows]
    attacked = [cell.attacked for cell in cells]
    crossed = [f"{cell.trigger} x {cell.attacked}" for cell in cells]
    found = []
    for repeat in sorted({fold.repeat for fold in folds}):
        own = [fold for fold in folds if fold.repeat == repeat]
        suspects = _suspects(rows, labelled.labels, targets, own, settings)
        sources, both = (recoveries(suspects, targets, counts, names) for names in (attacked, crossed))
        found.append((*sources, *both[1:]))
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
    target, source = (
        float(np.mean([getattr(found, hits) for found in repeats])) for hits in ("target_hits", "source_hits")
    )
    return replace(repeats[0], target_hits=target, source_hits=source)


def recovery_table(labelled: LabelledSet, settings: ClassSettings | None = None) -> str:
    """What three times five folds recover, as markdown."""
    folds = stratified_folds(labelled.labels, labelled.architectures, labelled.groups)
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
            f"| {r.cell} | {r.networks} | {r.target_hits:.4g} | {share:.2f} | {low:.2f} to {high:.2f} "
            f"| {r.chance:.1f} | {f'{r.source_hits:.4g} of {r.paired}' if r.paired else '-'} |"
        )
    return "\n".join(lines) + "\n"


def as_lines(found: Sequence[Recovery]) -> list[str]:
    """For a terminal, a line a cell."""
    width = max(len("target class found"), *(len(r.cell) + 4 for r in found))
    lines = [f"{'target class found':<{width}} trojaned  share  95 %            by chance  source too"]
    for r in found:
        low, high = wilson(r.target_hits, r.networks)
        share = f"{r.target_hits / r.networks:.3f}" if r.networks else "-"
        source = f"{r.source_hits:.4g} of {r.paired}" if r.paired else "-"
        lines.append(
            f"{'    ' + r.cell:<{width}} {r.networks:>8}  {share:>5}  [{low:.3f}, {high:.3f}]"
            f"  {r.chance / max(r.networks, 1):>9.3f}  {source}"
        )
    return lines
