"""Search over metaparameters by cross-validated cross-entropy, with Optuna: resumable, joinable, repeatable.

Trials run in batches, and a batch fold by fold: after each fold the median pruner stops the laggards. Each
trial samples from a seed of its own, so the outcome does not depend on `jobs`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from weightfeat.errors import WeightfeatError
from weightfeat.evaluation.crossval import Estimator, Progress, fit_and_score, worker_options
from weightfeat.evaluation.folds import SEARCH_STREAM, Fold, stratified_folds
from weightfeat.evaluation.metrics import elementwise_cross_entropy
from weightfeat.evaluation.study import LOSSES, choose, claim, finished, fixed_trial, offer, open_study

if TYPE_CHECKING:
    import optuna
    import pandas as pd

BATCH = 4
"""Trials that are sampled before any of them is finished: a constant, or results would depend on `jobs`."""


class HasBlocks(Protocol):
    """Metaparameters, as far as the search needs to know them."""

    @property
    def blocks(self) -> tuple[str, ...]:
        """Names of the feature blocks switched on."""


P = TypeVar("P", bound=HasBlocks)
Task = Callable[[], "NDArray[np.float64] | str"]


def tune(
    features_by_blocks: Callable[[tuple[str, ...]], pd.DataFrame],
    labels: ArrayLike,
    architectures: Sequence[str],
    families: Sequence[str],
    groups: Sequence[str] | None,
    *,
    space: Callable[[optuna.trial.BaseTrial], P],
    make_detector: Callable[[P], Estimator],
    trials: int,
    start: dict[str, Any] | None = None,
    storage_path: Path | None = None,
    jobs: int = 1,
    seed: int = 0,
    n_folds: int = 5,
    n_repeats: int = 1,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> P:
    """The metaparameters of least cross-validated cross-entropy among `trials` tried, or `start`: see `choose`.

    Parameters
    ----------
    space : turns a trial into metaparameters by its suggest_* methods.
    make_detector : an unfitted estimator of given metaparameters.
    start : suggested values to try first, left only for others whose lead over them is more than chance.
    storage_path : an Optuna journal. A search that was stopped goes on from it, and searches started by
        several processes or machines on one journal share its trials; `trials` counts all of them.
    seed : of the folds and of the samplers. The folds differ from those `stratified_folds` gives a report.

    Raises
    ------
    BadOutput : the journal cannot be written, or was begun with other models or folds.
    BadMetaparameters : no trial gave a usable detector.
    """
    y = np.asarray(labels, dtype=np.int64)
    folds = search_folds(y, architectures, groups, n_folds=n_folds, n_repeats=n_repeats, seed=seed)
    study = open_study(storage_path, seed)
    claim(study, fingerprint(y, architectures, groups, folds), storage_path)
    offer(study, start)
    table = lru_cache(maxsize=2 * BATCH)(features_by_blocks)
    task = partial(_task, table, make_detector, (y, architectures, families, groups))
    while (missing := trials - finished(study)) > 0:
        _run_batch(study, space, task, y, folds, min(BATCH, missing), jobs)
        if progress is not None:
            progress(min(finished(study), trials), trials)
    chosen, why = choose(study)
    log(why)
    return space(fixed_trial(chosen.params))


@dataclass
class _Running:
    """A trial under way, with the losses of the models tested so far."""

    trial: optuna.Trial
    params: Any = None
    losses: list[NDArray[np.float64]] = field(default_factory=list)
    ended: bool = False

    @property
    def loss(self) -> float:
        return float(np.concatenate(self.losses).mean())

    def end(self, study: optuna.Study, state: optuna.trial.TrialState) -> None:
        """Tell the study how it ended; with a value where it is complete."""
        from optuna.trial import TrialState

        study.tell(self.trial, self.loss if state == TrialState.COMPLETE else None, state)
        self.ended = True

    def keep_losses(self, folds: Sequence[Fold]) -> None:
        """Keep every model's mean loss over all folds with the trial, for another's to be compared with."""
        tested, losses = np.concatenate([fold.test for fold in folds]), np.concatenate(self.losses)
        mean = np.bincount(tested, weights=losses) / np.bincount(tested)
        self.trial.set_user_attr(LOSSES, mean.tolist())


def _run_batch(
    study: optuna.Study,
    space: Callable[[optuna.trial.BaseTrial], P],
    task: Callable[[P, Fold], Task],
    y: NDArray[np.int64],
    folds: Sequence[Fold],
    size: int,
    jobs: int,
) -> None:
    """Ask for `size` trials and tell the study how each ended."""
    from optuna.trial import TrialState

    batch: list[_Running] = []
    try:
        for _ in range(size):
            batch.append(_Running(study.ask()))
            batch[-1].params = space(batch[-1].trial)
        for step, fold in enumerate(folds):
            running = [run for run in batch if not run.ended]
            for run, result in zip(running, _results(running, task, fold, jobs), strict=True):
                _record(study, run, result, y[fold.test], step)
            # All have reported before any is judged, or the order within the batch would matter.
            laggards = [run for run in running if not run.ended and run.trial.should_prune()]
            for run in laggards if step + 1 < len(folds) else []:
                run.end(study, TrialState.PRUNED)
        for run in batch:
            if not run.ended:
                run.keep_losses(folds)
                run.end(study, TrialState.COMPLETE)
    finally:
        # Left over by an interruption only: a trial that nobody will finish must not look alive.
        for run in batch:
            if not run.ended:
                run.end(study, TrialState.FAIL)


def _results(
    running: Sequence[_Running], task: Callable[[P, Fold], Task], fold: Fold, jobs: int
) -> list[NDArray[np.float64] | str]:
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(**worker_options(jobs)):
        calls = (delayed(task(run.params, fold))() for run in running)
        return list(Parallel(max_nbytes=None)(calls))


def _record(
    study: optuna.Study, run: _Running, result: NDArray[np.float64] | str, truth: NDArray[np.int64], step: int
) -> None:
    from optuna.trial import TrialState

    if isinstance(result, str):
        run.trial.set_user_attr("error", result)
        # Not FAIL, which the sampler ignores: without a value, pruned ranks last and the region is shunned.
        run.end(study, TrialState.PRUNED)
    else:
        run.losses.append(elementwise_cross_entropy(truth, result))
        run.trial.report(run.loss, step)


def _task(
    table: Callable[[tuple[str, ...]], pd.DataFrame],
    make_detector: Callable[[P], Estimator],
    models: tuple[Any, ...],
    params: P,
    fold: Fold,
) -> Task:
    """Scores of one fold, to be had in another process; features are made in this one."""
    try:
        X = table(params.blocks)
    except WeightfeatError as error:
        return partial(str, str(error))
    return partial(_try, make_detector, params, X, *models, fold.train, fold.test)


def _try(make_detector: Callable[[P], Estimator], params: P, *data: Any) -> NDArray[np.float64] | str:
    """Scores of one fold, or the refusal: metaparameters that cannot be used cost a trial, not the search."""
    try:
        return fit_and_score(partial(make_detector, params), *data)
    except WeightfeatError as error:
        return str(error)


def search_folds(
    labels: ArrayLike,
    architectures: Sequence[str],
    groups: Sequence[str] | None,
    *,
    n_folds: int = 5,
    n_repeats: int = 1,
    seed: int = 0,
) -> tuple[Fold, ...]:
    """The folds that trials are judged on, which no report is made of."""
    return stratified_folds(
        *(labels, architectures, groups),
        n_folds=n_folds,
        n_repeats=n_repeats,
        seed=seed,
        stream=SEARCH_STREAM,
    )


def fingerprint(
    y: NDArray[np.int64], architectures: Sequence[str], groups: Sequence[str] | None, folds: Sequence[Fold]
) -> str:
    """Hash of what makes two trials' losses comparable: the models and the folds, and that both kept them."""
    content = [
        LOSSES,
        y.tolist(),
        list(architectures),
        groups and list(groups),
        [fold.test.tolist() for fold in folds],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
