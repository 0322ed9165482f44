"""Which metaparameters a search found to matter, and what moving away from the values chosen costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from weightfeat import features
from weightfeat.detector import Samples
from weightfeat.errors import BadMetaparameters
from weightfeat.evaluation import plots, sensitivity_report
from weightfeat.evaluation.search import fingerprint, search_folds
from weightfeat.evaluation.sensitivity import Importance, KeptStudy, Step, curves, importances, vary
from weightfeat.evaluation.study import SENSITIVITY, best, claim, open_study
from weightfeat.files import write_atomically
from weightfeat.learning.running import progress_bar, workers
from weightfeat.learning.tuning import trial_detector
from weightfeat.metaparameters import Metaparameters


@dataclass(frozen=True)
class Extent:
    """How many of the most important metaparameters to move, to how many values each; the search's seed."""

    parameters: int
    points: int
    seed: int = 0


def measure(
    samples: Samples,
    params: Metaparameters,
    journal: Path,
    extent: Extent,
    *,
    jobs: int = 1,
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
    seed = extent.seed
    folds = search_folds(samples, seed=seed)
    study = open_study(journal, seed)
    claim(study, fingerprint(samples, folds), journal)
    found = importances(study, seed=seed)
    names = [one.name for one in found] or list(best(study).distributions)
    varied = list(vary(params, names[: extent.parameters], study, extent.points))
    with progress_bar("sensitivity", "value", progress) as advance:
        steps = curves(
            samples.computed(features.BLOCKS),
            params,
            varied,
            trial_detector,
            study=KeptStudy(open_study(journal, seed, SENSITIVITY), folds),
            jobs=workers(jobs),
            progress=advance,
        )
    return found, steps


def write(directory: Path, found: Sequence[Importance], steps: Sequence[Step]) -> None:
    """importances.csv, curves.csv, sensitivity.md and the plots, each whole or not at all."""
    write_atomically(directory / "importances.csv", sensitivity_report.importances_csv(found))
    write_atomically(directory / "curves.csv", sensitivity_report.curves_csv(steps))
    write_atomically(directory / "sensitivity.md", sensitivity_report.as_markdown(found, steps))
    pictures = {}
    if found:
        pictures["importances.png"] = partial(sensitivity_report.importances_plot, found)
    if steps:
        pictures["curves.png"] = partial(sensitivity_report.curves_plot, steps)
    plots.write(directory, pictures)
