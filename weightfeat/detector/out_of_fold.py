"""Networks judged by what was learned without them: the one loop over folds, whatever is learned or measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.folds import Fold, check_folds
from weightfeat.detector.samples import Samples
from weightfeat.digest.processes import ending_with_this

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Fit", "Progress", "fit_and_judge", "out_of_fold", "worker_options"]

Judge = Callable[[Samples], NDArray[Any]]
"""Says something of every network of some samples, (n, ...)."""
Fit = Callable[[Samples], Judge]
"""Learns from samples how to judge others."""
Progress = Callable[[int, int], None]
"""Called with (done, total) after every step."""


def out_of_fold(
    samples: Samples,
    fit: Fit,
    folds: Sequence[Fold],
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> NDArray[Any]:
    """What is said of every network in each repeat, (repeats, n, ...), by what was learned without its fold.

    Whatever is fitted (normalisation, calibration, tuning) is fitted by `fit` and so inside the fold. The result is the
    same for any number of `jobs`. Folds of the same rows, such as one in two repeats, are fitted once.

    Raises ValueError where a repeat does not test every network exactly once, or a fold trains on what it tests.
    """
    check_folds(folds, len(samples))
    same: dict[tuple[bytes, bytes], list[Fold]] = {}
    for fold in folds:
        same.setdefault((fold.train.tobytes(), fold.test.tobytes()), []).append(fold)
    fits = list(same.values())
    found: NDArray[Any] | None = None
    judged = _each(samples, fit, [alike[0] for alike in fits], jobs)
    for done, (alike, values) in enumerate(zip(fits, judged, strict=True), start=1):
        if found is None:
            shape = (1 + max(fold.repeat for fold in folds), len(samples), *values.shape[1:])
            found = np.full(shape, np.nan)
        for fold in alike:
            found[fold.repeat, fold.test] = values
        if progress is not None:
            progress(done, len(fits))
    assert found is not None
    return found


def fit_and_judge(samples: Samples, fit: Fit, fold: Fold) -> NDArray[Any]:
    """What is said of the networks that a fold tests by what was learned from those it trains on."""
    return np.asarray(fit(samples.take(fold.train))(samples.take(fold.test)))


def _each(samples: Samples, fit: Fit, folds: Sequence[Fold], jobs: int) -> Iterator[NDArray[Any]]:
    if jobs == 1:
        return (fit_and_judge(samples, fit, fold) for fold in folds)
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(**worker_options(jobs)):
        parallel = Parallel(return_as="generator", max_nbytes=None)
        return iter(parallel(delayed(fit_and_judge)(samples, fit, fold) for fold in folds))


def worker_options(jobs: int) -> dict[str, Any]:
    """joblib's settings: loky, because LightGBM hangs in forked children, one thread a worker, no worker without us.

    Fewer than one job means one a core. Callers also pass Parallel `max_nbytes=None`, so that nothing is mapped to
    files: /tmp may not be writable where this runs.
    """
    from joblib import cpu_count

    jobs = jobs if jobs > 0 else cpu_count()
    if jobs == 1:
        return {"backend": "sequential", "n_jobs": 1}
    return {"backend": "loky", "n_jobs": jobs, "inner_max_num_threads": 1, **ending_with_this()}
