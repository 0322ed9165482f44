"""The Optuna study behind a search: in memory or in a journal that several processes share."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from weightfeat.detector.folds import SEARCH_STREAM
from weightfeat.errors import BadMetaparameters, BadOutput
from weightfeat.files import make_folder

if TYPE_CHECKING:
    import optuna

STUDY = "weightfeat"  # with it the names of all our studies begin
LOSSES = "losses"  # a complete trial's attribute: every model's cross-entropy, in the models' order
CHANCE = 0.05  # of leaving the start for a trial that is no better


def open_study(storage_path: Path | None, seed: int = 0, name: str = STUDY) -> optuna.Study:
    """The search's study, or another `name`: in memory, or in the journal at `storage_path`, made where absent.

    A journal that holds the study is only read. Raises BadOutput, with nothing written, for a file of another kind.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    how: dict[str, Any] = {
        "study_name": name,
        "sampler": _per_trial_sampler(seed),
        "pruner": optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
    }
    if storage_path is None:
        return optuna.create_study(direction="minimize", **how)
    make_folder(storage_path.parent, "folder of the search journal")
    try:
        storage = _journal(storage_path)
        if name in optuna.get_all_study_names(storage):
            return optuna.load_study(storage=storage, **how)
        return optuna.create_study(storage=storage, load_if_exists=True, direction="minimize", **how)
    except (OSError, ValueError) as error:
        raise BadOutput(
            f"cannot be used as a search journal ({error})",
            where=storage_path,
            expected="a journal of an earlier search, or a path where one can be made",
            remedy="choose another path",
        ) from error


def _journal(path: Path) -> optuna.storages.JournalStorage:
    """The journal at `path`. ValueError for a file that is none: Optuna would append to it before it looked."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    if path.exists():
        with path.open("rb") as stream:
            line = stream.readline()
        if line and not _begins_a_journal(line):
            raise ValueError("its first line is not one of a search's")
    return JournalStorage(JournalFileBackend(str(path)))


def _begins_a_journal(line: bytes) -> bool:
    """Whether a line is the entry that made a study of ours, with which every journal of a search begins."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and "op_code" in entry and str(entry.get("study_name")).startswith(STUDY)


def finished(study: optuna.Study) -> int:
    """How many trials have ended, by a value, by pruning or by failure."""
    return sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))


def _per_trial_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """TPE whose randomness depends on (seed, trial number) only.

    A resumed search then goes on as it would have done, and processes that share a journal do not try the
    same values.
    """
    import optuna

    class PerTrialTPE(optuna.samplers.BaseSampler):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            state = np.random.SeedSequence([seed, SEARCH_STREAM, trial.number]).generate_state(1)
            self._sampler = optuna.samplers.TPESampler(seed=int(state[0]))

        def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> Any:
            return self._sampler.infer_relative_search_space(study, trial)

        def sample_relative(
            self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: Any
        ) -> Any:
            return self._sampler.sample_relative(study, trial, search_space)

        def sample_independent(
            self,
            study: optuna.Study,
            trial: optuna.trial.FrozenTrial,
            param_name: str,
            param_distribution: Any,
        ) -> Any:
            return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    return PerTrialTPE()


def offer(study: optuna.Study, start: dict[str, Any] | None) -> None:
    """Queue the start values unless they have been tried to an end, or wait already."""
    from optuna.trial import TrialState

    if start is None:
        return
    ended_or_waiting = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.WAITING)
    if not any("start" in trial.user_attrs for trial in study.get_trials(states=ended_or_waiting)):
        study.enqueue_trial(start, user_attrs={"start": True})


def claim(study: optuna.Study, fingerprint: str, storage_path: Path | None) -> None:
    """Mark the study as one on these data; BadOutput where it was begun on others."""
    begun = study.user_attrs.get("data")
    if begun is None:
        study.set_user_attr("data", fingerprint)
    elif begun != fingerprint:
        raise BadOutput(
            "the search journal was begun with other models, folds or another seed",
            where=storage_path,
            expected="a new file, or the same data again",
            remedy="choose another path",
        )


def best(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """The complete trial of least loss; BadMetaparameters where none is complete."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        errors = [trial.user_attrs["error"] for trial in trials if "error" in trial.user_attrs]
        raise BadMetaparameters(
            f"none of {len(trials)} trials gave a usable detector ({errors[0] if errors else 'no trials'})",
            where="search",
            expected="at least one",
            remedy="ask for more trials or mend the bounds in the schema",
        )
    return study.best_trial


def choose(study: optuna.Study) -> tuple[optuna.trial.FrozenTrial, str]:
    """The trial to believe, and why: the best one, or the start where the best one's lead may be chance.

    The best of many trials leads on its own folds even if all are equal. It is believed where its paired gain over
    the start, in standard errors, exceeds what the luckiest of as many equal trials reaches once in twenty searches
    (Bonferroni). A study without a complete start has nothing to fall back on.
    """
    found = best(study)
    start = next((trial for trial in study.get_trials(deepcopy=False) if _is_complete_start(trial)), None)
    if start is None:
        return found, "the best trial"
    if start.number == found.number:
        return start, "no trial is better than the values it began with"
    gains = np.array(start.user_attrs[LOSSES]) - np.array(found.user_attrs[LOSSES])
    error = float(gains.std(ddof=1)) / np.sqrt(len(gains))
    needed = NormalDist().inv_cdf(1 - CHANCE / (finished(study) - 1)) * error
    lead = f"the best trial gains {gains.mean():.4f}, {needed:.4f} is needed to rule out chance"
    return (found, lead) if gains.mean() > needed else (start, f"{lead}: the values it began with are kept")


def _is_complete_start(trial: optuna.trial.FrozenTrial) -> bool:
    from optuna.trial import TrialState

    return "start" in trial.user_attrs and trial.state == TrialState.COMPLETE


def fixed_trial(params: dict[str, Any]) -> optuna.trial.FixedTrial:
    """A trial that suggests exactly these values."""
    import optuna

    return optuna.trial.FixedTrial(params)
