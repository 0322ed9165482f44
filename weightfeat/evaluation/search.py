"""Search over metaparameters by cross-validated cross-entropy, with Optuna: resumable, joinable, repeatable.

Trials run in batches, and a batch fold by fold: after each fold the median pruner stops the laggards. Each
trial samples from a seed of its own, so the outcome does not depend on `jobs`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.folds import SEARCH_STREAM, Fold, stratified_folds
from weightfeat.detector.out_of_fold import Progress, fit_and_judge, worker_options
from weightfeat.detector.samples import Samples
from weightfeat.errors import WeightfeatError
from weightfeat.evaluation.crossval import Estimator, fitted
from weightfeat.evaluation.metrics import elementwise_cross_entropy
from weightfeat.evaluation.study import LOSSES, choose, claim, finished, fixed_trial, offer, open_study

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)

BATCH = 4
"""Trials that are sampled before any of them is finished: a constant, or results would depend on `jobs`."""


P = TypeVar("P")
Task = Callable[[], "NDArray[np.float64] | str"]
Space = Callable[["optuna.trial.BaseTrial"], P]
"""Turns a trial into metaparameters by its suggest_* methods."""


@dataclass(frozen=True)
class SearchPlan:
    """How to search.

    Attributes
    ----------
    trials : in all, those of a search that is resumed counted too.
    start : suggested values to try first, left only for others whose lead over them is more than chance.
    journal : an Optuna journal. A search that was stopped goes on from it, and searches started by several processes
        or machines on one journal share its trials.
    seed : of the folds and of the samplers. The folds differ from those `stratified_folds` gives a report.
    """

    trials: int
    start: dict[str, Any] | None = None
    journal: Path | None = None
    seed: int = 0
    n_folds: int = 5
    n_repeats: int = 1


def tune(
    samples: Samples,
    space: Space[P],
    make: Callable[[P], Estimator],
    plan: SearchPlan,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> P:
    """The metaparameters of least cross-validated cross-entropy among the trials, or the start: see `choose`.

    `make` gives an unfitted estimator of given metaparameters.

    Raises
    ------
    BadOutput : the journal cannot be written, or was begun with other models or folds.
    BadMetaparameters : no trial gave a usable detector.
    """
    folds = search_folds(samples, n_folds=plan.n_folds, n_repeats=plan.n_repeats, seed=plan.seed)
    study = open_study(plan.journal, plan.seed)
    claim(study, fingerprint(samples, folds), plan.journal)
    offer(study, plan.start)
    if made := finished(study):
        logger.info("search: %d of %d trials were made before", min(made, plan.trials), plan.trials)
    batch = _Batch(study, space, partial(_task, samples, make), samples.y, folds)
    while (missing := plan.trials - finished(study)) > 0:
        batch.run(min(BATCH, missing), jobs)
        if progress is not None:
            progress(min(finished(study), plan.trials), plan.trials)
    chosen, why = choose(study)
    logger.info("search: %s", why)
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


@dataclass(frozen=True, eq=False)
class _Batch(Generic[P]):
    """What every batch of trials is run with."""

    study: optuna.Study
    space: Space[P]
    task: Callable[[P, Fold], Task]
    y: NDArray[np.int64]
    folds: Sequence[Fold]

    def run(self, size: int, jobs: int) -> None:
        """Ask for `size` trials and tell the study how each ended."""
        from optuna.trial import TrialState

        batch: list[_Running] = []
        try:
            for _ in range(size):
                batch.append(_Running(self.study.ask()))
                batch[-1].params = self.space(batch[-1].trial)
            for step, fold in enumerate(self.folds):
                running = [run for run in batch if not run.ended]
                for run, result in zip(running, _results(running, self.task, fold, jobs), strict=True):
                    _record(self.study, run, result, self.y[fold.test], step)
                # All have reported before any is judged, or the order within the batch would matter.
                laggards = [run for run in running if not run.ended and run.trial.should_prune()]
                for run in laggards if step + 1 < len(self.folds) else []:
                    run.end(self.study, TrialState.PRUNED)
            for run in batch:
                if not run.ended:
                    run.keep_losses(self.folds)
                    run.end(self.study, TrialState.COMPLETE)
        finally:
            # Left over by an interruption only: a trial that nobody will finish must not look alive.
            for run in batch:
                if not run.ended:
                    run.end(self.study, TrialState.FAIL)


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


def _task(samples: Samples, make: Callable[[P], Estimator], params: P, fold: Fold) -> Task:
    """Scores of one fold, to be had in another process."""
    return partial(_try, samples, partial(make, params), fold)


def _try(samples: Samples, make: Callable[[], Estimator], fold: Fold) -> NDArray[np.float64] | str:
    """Scores of one fold, or the refusal: metaparameters that cannot be used cost a trial, not the search."""
    try:
        return fit_and_judge(samples, partial(fitted, make=make), fold)
    except WeightfeatError as error:
        return str(error)


def search_folds(
    samples: Samples, *, n_folds: int = 5, n_repeats: int = 1, seed: int = 0
) -> tuple[Fold, ...]:
    """The folds that trials are judged on, which no report is made of."""
    return stratified_folds(samples, n_folds=n_folds, n_repeats=n_repeats, seed=seed, stream=SEARCH_STREAM)


def fingerprint(samples: Samples, folds: Sequence[Fold]) -> str:
    """Hash of what makes two trials' losses comparable: the models and the folds, and that both kept them."""
    content = [
        LOSSES,
        samples.y.tolist(),
        list(samples.architecture),
        list(samples.group),
        [fold.test.tolist() for fold in folds],
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
