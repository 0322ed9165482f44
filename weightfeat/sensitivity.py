"""Which metaparameters a search found to matter, and what moving away from the values chosen costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from weightfeat.configure import bar, feature_table, trial_estimators, workers
from weightfeat.errors import BadMetaparameters
from weightfeat.evaluation import plots, sensitivity_report
from weightfeat.evaluation.search import fingerprint, search_folds
from weightfeat.evaluation.sensitivity import Importance, Step, curves, importances, vary
from weightfeat.evaluation.study import SENSITIVITY, best, claim, open_study
from weightfeat.files import write_atomically
from weightfeat.metaparameters import Metaparameters
from weightfeat.rounds.labelled import LabelledSet


def measure(
    labelled: LabelledSet,
    params: Metaparameters,
    journal: Path,
    *,
    parameters: int,
    points: int,
    jobs: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> tuple[tuple[Importance, ...], tuple[Step, ...]]:
    """Importances of a search's metaparameters, and what moving each of the most important from `params` does.

    At most `parameters` x `points` cross-validations on the folds of the search. Finished ones are kept in `journal`.
    Raises BadOutput for a journal of other models, folds or seed, BadMetaparameters where no trial is complete.
    """
    if not journal.is_file():
        raise BadMetaparameters(
            "no such search journal",
            where=journal,
            expected="what `tune --storage FILE` wrote on the same models",
            remedy="tune first, or give its path",
        )
    y, places, groups = np.asarray(labelled.labels), labelled.architectures, labelled.groups
    folds = search_folds(y, places, groups, seed=seed)
    study = open_study(journal, seed)
    claim(study, fingerprint(y, places, groups, folds), journal)
    found = importances(study, seed=seed)
    names = [one.name for one in found] or list(best(study).distributions)
    varied = list(vary(params, names[:parameters], study, points))
    with bar("sensitivity", "value", progress) as advance:
        steps = curves(
            *(partial(feature_table, labelled), y, places, labelled.families, groups),
            chosen=params,
            varied=varied,
            make_detector=trial_estimators(labelled),
            folds=folds,
            kept=open_study(journal, seed, SENSITIVITY),
            jobs=workers(jobs),
            progress=advance,
        )
    return found, steps


def write(
    directory: Path, found: Sequence[Importance], steps: Sequence[Step], log: Callable[[str], None]
) -> None:
    """importances.csv, curves.csv, sensitivity.md and the plots, each whole or not at all."""
    write_atomically(directory / "importances.csv", sensitivity_report.importances_csv(found))
    write_atomically(directory / "curves.csv", sensitivity_report.curves_csv(steps))
    write_atomically(directory / "sensitivity.md", sensitivity_report.as_markdown(found, steps))
    pictures = {}
    if found:
        pictures["importances.png"] = partial(sensitivity_report.importances_plot, found)
    if steps:
        pictures["curves.png"] = partial(sensitivity_report.curves_plot, steps)
    plots.write(directory, pictures, log)
