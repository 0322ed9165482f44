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


def recovery_table(labelled: LabelledSet, settings: ClassSettings | None = None) -> str:
    """Class evidence learned on the set, out of fold by group, as markdown."""
    targets = targets_of(labelled)
    evidence = ClassEvidence(settings)
    rows = [class_rows(digest) for digest in labelled.digests]
    evidence.fit_transform(rows, labelled.labels, targets, labelled.groups)
    cells = [
        trojan_cell(dict(zip(labelled.metadata.columns, row, strict=True)), trojaned=bool(label)).attacked
        for row, label in zip(labelled.metadata.to_numpy(), labelled.labels, strict=True)
    ]
    return as_markdown(recoveries(evidence.suspects_, targets, [row.count for row in rows], cells))


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
