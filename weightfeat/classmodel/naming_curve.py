"""What more networks would bring to naming the target: the same test networks, after learning from fewer and fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weightfeat.classmodel.measure import Recovery, recover, wilson
from weightfeat.classmodel.settings import ClassSettings
from weightfeat.evaluation.folds import Fold, learned_from, thinnings
from weightfeat.evaluation.intervals import Estimate
from weightfeat.evaluation.learning_curve import SHARES
from weightfeat.rounds.labelled import LabelledSet


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
    labelled: LabelledSet,
    folds: Sequence[Fold],
    settings: ClassSettings,
    *,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
) -> tuple[NamingPoint, ...]:
    """A point a share, in order, learned from the sub-samples that the learning curve learns from; the last is `whole`.

    Shares that leave too few models of a label are left out.
    """
    parts = thinnings(
        *(folds, labelled.labels, labelled.architectures, labelled.groups), shares=shares, seed=seed
    )
    points = [
        NamingPoint(share, learned_from(part), recover(labelled, part, settings))
        for share, part in parts.items()
    ]
    return (*points, NamingPoint(1.0, learned_from(folds), tuple(whole)))


def as_lines(points: Sequence[NamingPoint]) -> list[str]:
    """For a terminal, a line a point: shares of all networks and of those with as many classes attacked."""
    cells = [found.cell for found in points[-1].found if " x " not in found.cell]
    lines = ["target class found after learning from fewer", "    learned from     " + _row(cells)]
    for point in points:
        found = [_share(point.of(cell)) for cell in cells]
        lines.append(f"    {point.models:>7.1f} ({point.share:>6.1%})  {_row(found)}")
    return lines


def _row(cells: Sequence[str]) -> str:
    return "".join(f"{cell:<23}" for cell in cells).rstrip()


def _share(found: Recovery | None) -> str:
    if found is None or not found.networks:
        return "-"
    share = Estimate(found.target_hits / found.networks, *wilson(found.target_hits, found.networks))
    return f"{share:.3f}"
