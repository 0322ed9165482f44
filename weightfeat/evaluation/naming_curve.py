"""What more networks would bring to naming the target: the same test networks, after learning from fewer and fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weightfeat.detector.folds import Fold
from weightfeat.detector.samples import Samples
from weightfeat.evaluation.folds import learned_from, thinnings
from weightfeat.evaluation.learning_curve import SHARES
from weightfeat.evaluation.naming import Recovery, recover
from weightfeat.evaluation.silence import Row
from weightfeat.evaluation.tables import Table
from weightfeat.metaparameters import Metaparameters


@dataclass(frozen=True)
class NamingPoint:
    """What `recover` finds after learning from `models` networks, `share` of all, means over folds."""

    share: float
    models: float
    found: tuple[Recovery, ...]

    def of(self, cell: str) -> Recovery | None:
        """The cell's entry, if there are networks of it."""
        return next((one for one in self.found if one.cell == cell), None)


def naming_curve(
    whole: Sequence[Recovery],
    samples: Samples,
    rows: Sequence[Row],
    folds: Sequence[Fold],
    params: Metaparameters,
    *,
    seed: int = 0,
) -> tuple[NamingPoint, ...]:
    """A point a share, in order, learned from the sub-samples that the learning curve learns from; the last is `whole`.

    Shares that leave too few models of a label are left out.
    """
    parts = thinnings(folds, samples, shares=SHARES, seed=seed)
    points = [
        NamingPoint(share, learned_from(part), recover(samples, rows, part, params))
        for share, part in parts.items()
    ]
    return (*points, NamingPoint(1.0, learned_from(folds), tuple(whole)))


def as_lines(points: Sequence[NamingPoint]) -> list[str]:
    """For a terminal, a line a point: shares of all networks and of those with as many classes attacked."""
    cells = [found.cell for found in points[-1].found if " x " not in found.cell]
    columns = {"learned from": ".1f", "share": ".1%", **dict.fromkeys(cells, ".3f")}
    found = [[point.of(cell) for cell in cells] for point in points]
    rows = [
        (point.models, point.share, *(None if one is None else one.share for one in each))
        for point, each in zip(points, found, strict=True)
    ]
    return ["target class found after learning from fewer", *Table.of(columns, rows).terminal(4)]
