"""What more networks would bring: the same test models, judged after learning from fewer and fewer of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from weightfeat.detector.folds import Fold
from weightfeat.detector.out_of_fold import Progress
from weightfeat.detector.samples import Samples
from weightfeat.evaluation import metrics
from weightfeat.evaluation.crossval import CrossValidation, Estimator, cross_validate
from weightfeat.evaluation.folds import learned_from, thinnings
from weightfeat.evaluation.intervals import Estimate, bootstrap, paired_bootstrap
from weightfeat.evaluation.tables import Table

SHARES = (0.125, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Point:
    """Figures after learning from `models` networks, a mean over folds and `draws` sub-samples.

    Intervals are over test models; `spread` is the standard deviation over draws, which also holds that of the folds;
    `minus_all` is the paired difference from learning from every training model.
    """

    share: float
    models: float
    draws: int
    cross_entropy: Estimate
    cross_entropy_spread: float
    cross_entropy_minus_all: Estimate
    roc_auc: Estimate
    roc_auc_spread: float
    roc_auc_minus_all: Estimate


def learning_curve(
    whole: CrossValidation,
    samples: Samples,
    make: Callable[[], Estimator],
    folds: Sequence[Fold],
    *,
    jobs: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Point, ...]:
    """A point for each of `SHARES`, in order, the last being `whole`: the cross-validation on `folds` as they are.

    Each repeat of the folds is one draw of the sub-samples. Shares that leave too few models of a label are left out.
    """
    runs = thinnings(folds, samples, shares=SHARES, seed=seed)
    points = []
    for number, (share, part) in enumerate(runs.items()):

        def advance(done: int, total: int, before: int = number) -> None:
            if progress is not None:
                progress(before * total + done, len(runs) * total)

        cv = cross_validate(samples, make, part, jobs=jobs, progress=advance)
        points.append(_point(share, cv, whole, part, seed))
    return (*points, _point(1.0, whole, whole, folds, seed))


def _point(
    share: float, cv: CrossValidation, whole: CrossValidation, folds: Sequence[Fold], seed: int
) -> Point:
    y, p, q = cv.labels, cv.probabilities, whole.probabilities
    single = [(metrics.cross_entropy(y, one), metrics.roc_auc(y, one)) for one in p]
    ce_spread, auc_spread = np.std(single, axis=0, ddof=1) if len(single) > 1 else (np.nan, np.nan)
    return Point(
        share=share,
        models=learned_from(folds),
        draws=cv.n_repeats,
        cross_entropy=bootstrap(y, p, "cross_entropy", seed=seed),
        cross_entropy_spread=float(ce_spread),
        cross_entropy_minus_all=paired_bootstrap(y, p, q, "cross_entropy", seed=seed),
        roc_auc=bootstrap(y, p, "roc_auc", seed=seed),
        roc_auc_spread=float(auc_spread),
        roc_auc_minus_all=paired_bootstrap(y, p, q, "roc_auc", seed=seed),
    )


def as_csv(points: Sequence[Point]) -> str:
    """A row a point, a column a field."""
    names = [field.name for field in fields(Point)]
    rows = [tuple(getattr(at, name) for name in names) for at in points]
    return Table.of(dict.fromkeys(names, ""), rows).csv()


def as_lines(points: Sequence[Point]) -> list[str]:
    """For a terminal, a line a point."""
    columns = {"learned from": ".1f", "share": ".1%", "cross-entropy": ".3f", "more than with all": "+.3f"}
    rows = [(at.models, at.share, at.cross_entropy, at.cross_entropy_minus_all, at.roc_auc) for at in points]
    return [
        f"learning curve, {points[-1].draws} draws, same test models",
        *Table.of({**columns, "ROC-AUC": ".3f"}, rows).terminal(4),
    ]
