"""One protocol for every rival: numbers from a digest, and an estimator that is fitted inside the folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightfeat.detector.folds import Fold
from weightfeat.detector.out_of_fold import Progress
from weightfeat.detector.samples import Samples
from weightfeat.digest import Digest
from weightfeat.evaluation.crossval import CrossValidation, Estimator, cross_validate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Rival", "known_by", "run", "table"]


@dataclass(frozen=True)
class Rival:
    """Another detector, reduced to what a digest holds.

    `features` may name other columns for other architectures: a column that a network lacks is NaN in its row.
    `source` is the paper or program it is written from; `note` says where what runs here departs from it.
    """

    name: str
    source: str
    features: Callable[[Digest], Mapping[str, float]]
    make_estimator: Callable[[], Estimator]
    note: str = ""


def table(names: Sequence[str], digests: Sequence[Digest], rival: Rival) -> pd.DataFrame:
    """A float64 row a network, indexed by name; infinities, like what is absent, are NaN."""
    import numpy as np
    import pandas as pd

    rows = [dict(rival.features(digest)) for digest in digests]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    frame = pd.DataFrame(rows, index=list(names), columns=columns, dtype="float64")
    return frame.mask(~np.isfinite(frame.to_numpy()))


def known_by(samples: Samples, rival: Rival) -> Samples:
    """The same networks as the rival's table of numbers."""
    frame = table(samples.names, [network.digest for network in samples.networks], rival)
    return samples.with_table([str(name) for name in frame.columns], frame.to_numpy())


def run(
    rival: Rival,
    samples: Samples,
    folds: Sequence[Fold],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> CrossValidation:
    """The rival on the folds that our detector is tested on; nothing of it is fitted outside them."""
    from threadpoolctl import threadpool_limits

    # Fits this small lose time to threads, and their sums would depend on how many there are.
    with threadpool_limits(limits=1, user_api="blas"):
        known = known_by(samples, rival)
        return cross_validate(known, rival.make_estimator, folds, jobs=jobs, progress=progress)
