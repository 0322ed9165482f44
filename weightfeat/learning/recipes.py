"""What holds outside a recipe: every level of every factor left out of all that is learned, worst first.

Networks that others made are judged by the general model, which is all that speaks of them (`detector/learned.py`), so
that is what is fitted anew for every level left out: scales, selection, calibration, words and intervals with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector import Samples
from weightfeat.detector.calibration import sigmoid
from weightfeat.detector.general.learning import fit_general
from weightfeat.detector.out_of_fold import Judge, Progress, out_of_fold
from weightfeat.detector.words import word_of
from weightfeat.evaluation.folds import leave_one_out_folds
from weightfeat.evaluation.intervals import Estimate, bootstrap
from weightfeat.evaluation.recipes import recipe_levels
from weightfeat.evaluation.silence import Row
from weightfeat.evaluation.tables import Table
from weightfeat.features.summaries import Array
from weightfeat.metaparameters import Metaparameters

__all__ = ["Level", "as_lines", "leave_recipes_out"]

_DRAWS = 500


@dataclass(frozen=True)
class Level:
    """What was said of the networks of one level by a model that had learned of none.

    Attributes
    ----------
    called, suspicious : shares of the clean ones that were called trojaned, and trojaned or suspicious.
    found : share of the trojaned ones that were called trojaned.
    inside : whether the share of trojaned networks lies between the means of the intervals' two ends.
    """

    factor: str
    level: str
    networks: int
    trojaned: int
    cross_entropy: float
    cross_entropy_interval: tuple[float, float]
    roc_auc: float
    roc_auc_interval: tuple[float, float]
    called: float
    suspicious: float
    found: float
    inside: bool


def leave_recipes_out(
    samples: Samples,
    rows: Sequence[Row],
    params: Metaparameters,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[Level, ...]:
    """Every level of every factor, of each factor the worst first. `rows` are METADATA's, in the samples' order."""
    found, done = [], 0
    factors = {name: leave_one_out_folds(samples, levels) for name, levels in recipe_levels(rows).items()}
    total = sum(len(folds) for folds in factors.values())

    def advance(within: int, _: int) -> None:
        if progress is not None:
            progress(done + within, total)

    for factor, folds in factors.items():
        said = out_of_fold(samples, partial(_fit, params=params), folds, jobs=jobs, progress=advance)[0]
        done += len(folds)
        of_factor = [
            _level(factor, fold.name, said[fold.test], samples.y[fold.test], params) for fold in folds
        ]
        found += sorted(of_factor, key=lambda level: -level.cross_entropy)
    return tuple(found)


_LOGIT, _LOW, _HIGH, _SHARE, _POWER, _FEWEST = range(6)


def _fit(train: Samples, params: Metaparameters) -> Judge:
    general = fit_general(train, params.train_folds, params.train_seed)
    assert general is not None

    def judge(held: Samples) -> Array:
        said = []
        for rows in held.standings:
            logit, kind = general.logit(rows), general.measured(rows)
            low, high = (float(sigmoid(end)) for end in general.ends(np.array(logit)))
            said.append([logit, low, high, kind.clean_share(logit), kind.roc_auc, len(kind.clean)])
        return np.array(said)

    return judge


def _level(factor: str, level: str, said: Array, y: NDArray[np.int64], params: Metaparameters) -> Level:
    p = np.clip(sigmoid(said[:, _LOGIT]), params.infer_clip, 1 - params.infer_clip)
    words = [
        word_of(float(own), row[_SHARE], row[_POWER], int(row[_FEWEST]))
        for own, row in zip(p, said, strict=True)
    ]
    called = np.array([word == "trojaned" for word in words])
    suspicious = called | np.array([word == "suspicious" for word in words])
    entropy = bootstrap(y, p[None], "cross_entropy", draws=_DRAWS)
    both = 0 < y.sum() < len(y)
    area = bootstrap(y, p[None], "roc_auc", draws=_DRAWS) if both else None
    share = float(y.mean())
    return Level(
        factor=factor,
        level=level,
        networks=len(y),
        trojaned=int(y.sum()),
        cross_entropy=entropy.value,
        cross_entropy_interval=(entropy.low, entropy.high),
        roc_auc=float("nan") if area is None else area.value,
        roc_auc_interval=(float("nan"),) * 2 if area is None else (area.low, area.high),
        called=float(called[y == 0].mean()) if (y == 0).any() else float("nan"),
        suspicious=float(suspicious[y == 0].mean()) if (y == 0).any() else float("nan"),
        found=float(called[y == 1].mean()) if y.any() else float("nan"),
        inside=bool(said[:, _LOW].mean() <= share <= said[:, _HIGH].mean()),
    )


def as_lines(levels: Sequence[Level]) -> list[str]:
    """For a terminal: a heading, then a line a level."""
    if not levels:
        return []
    clean = sum(level.networks - level.trojaned for level in levels)
    alarms = sum(
        level.called * (level.networks - level.trojaned)
        for level in levels
        if level.networks > level.trojaned
    )
    lines = [
        f"leave one level of a recipe out: clean networks called trojaned {alarms / max(clean, 1):.3f} "
        f"(promised 0.05), levels inside their interval {sum(level.inside for level in levels)} of {len(levels)}",
    ]
    for factor, each in groupby(levels, key=lambda level: level.factor):
        lines += _table(factor, each).terminal(2)
    return lines


def _table(factor: str, levels: Iterable[Level]) -> Table:
    columns = {factor: "", "models": "", "trojaned": "", "cross-entropy": ".3f", "ROC-AUC": ".3f"}
    rows = [
        (
            *(level.level, level.networks, level.trojaned),
            *(
                Estimate(level.cross_entropy, *level.cross_entropy_interval),
                Estimate(level.roc_auc, *level.roc_auc_interval),
            ),
            *(level.called, level.suspicious, level.found),
        )
        for level in levels
    ]
    return Table.of({**columns, "called": ".3f", "suspicious": ".3f", "found": ".3f"}, rows)
