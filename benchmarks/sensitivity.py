"""Which metaparameters a search found to matter, and what moving away from the values chosen costs.

    python benchmarks/sensitivity.py --digests reference --storage tune.journal --output sensitivity
        [--parameters 8] [--points 4] [--seed 0] [--jobs 0]

`--storage` is the journal of `train_meta.py tune` on the same networks. Prints markdown, and leaves it in `--output`
with the tables and, with matplotlib, the plots. Finished cross-validations are kept in the journal: killed and run
again it goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import sensitivity_report
from sensitivity_curves import Importance, KeptStudy, Step, curves, importances, vary
from weightfeat import features
from weightfeat.commands.arguments import (
    add_labelled,
    add_parameter_files,
    labelled_set,
    natural,
    parameters,
    positive,
)
from weightfeat.commands.program import run
from weightfeat.detector import Samples
from weightfeat.errors import BadMetaparameters
from weightfeat.evaluation import plots
from weightfeat.evaluation.search import fingerprint, search_folds
from weightfeat.evaluation.study import STUDY, best, claim, open_study
from weightfeat.files import make_folder, write_atomically
from weightfeat.learning.running import progress_bar, workers
from weightfeat.learning.tuning import trial_detector
from weightfeat.metaparameters import Metaparameters

KEPT = f"{STUDY} sensitivity"
"""The journal's study that keeps the finished points."""


def main() -> int:
    """Print the report; 0 when it is whole."""
    options = _parser().parse_args()
    params = parameters(options)
    make_folder(options.output, "output folder")
    found, steps = measure(labelled_set(options).samples, params, options)
    write(options.output, found, steps)
    print(sensitivity_report.as_markdown(found, steps), end="")
    return 0


def measure(
    samples: Samples, params: Metaparameters, options: argparse.Namespace
) -> tuple[tuple[Importance, ...], tuple[Step, ...]]:
    """Importances of a search's metaparameters, and what moving each of the most important from `params` does.

    At most `parameters` x `points` cross-validations on the folds of the search. Raises BadOutput for a journal of
    other models, folds or seed, BadMetaparameters where no trial is complete.
    """
    journal, seed = options.storage, options.seed
    if not journal.is_file():
        raise BadMetaparameters(
            "no such search journal",
            where=journal,
            expected="what `tune --storage FILE` wrote on the same models",
            remedy="tune first, or give its path",
        )
    folds = search_folds(samples, seed=seed)
    study = open_study(journal, seed)
    claim(study, fingerprint(samples, folds), journal)
    found = importances(study, seed=seed)
    names = [one.name for one in found] or list(best(study).distributions)
    varied = list(vary(params, names[: options.parameters], study, options.points))
    with progress_bar("sensitivity", "value", True) as advance:
        steps = curves(
            *(samples.computed(features.BLOCKS), params, varied, trial_detector),
            study=KeptStudy(open_study(journal, seed, KEPT), folds),
            jobs=workers(options.jobs),
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_labelled(parser)
    add_parameter_files(parser)
    parser.add_argument("--storage", type=Path, required=True, metavar="FILE", help="the search's journal")
    parser.add_argument(
        "--parameters", type=positive, default=8, help="how many to move, most important first"
    )
    parser.add_argument("--points", type=positive, default=4, help="values of each, from bound to bound")
    parser.add_argument("--seed", type=natural, default=0, help="that of the search")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="write tables and plots there"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(run(main))
