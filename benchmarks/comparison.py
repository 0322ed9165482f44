"""What the comparisons share: the folds that a command line asks for, and the table of the networks they report.

A digest folder's `stages.csv` (model_name, stage) says at which stage of the set each network joined it; a stage is
named after the number of networks that there were. Networks that it does not name joined since.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rival_detectors.comparison import as_markdown, compare
from rival_detectors.protocol import Rival
from weightfeat.commands.arguments import at_least_two, natural, positive
from weightfeat.detector.folds import Fold, stratified_folds
from weightfeat.errors import BadRound
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.folds import later_folds
from weightfeat.rounds.labelled import LabelledSet

ROOT = Path(__file__).resolve().parents[1]
STAGES = "stages.csv"


def add_options(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """The options that `drawn` reads, and --digests and --jobs; returns the group that --learned-from belongs to."""
    parser.add_argument("--digests", type=Path, default=ROOT / "reference")
    parser.add_argument("--folds", type=at_least_two, default=5)
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument(
        "--learned-from",
        type=positive,
        nargs="+",
        metavar="STAGE",
        help="stages of the set when it was smaller: what joined it since is judged by what was there, no folds",
    )
    return earlier


def drawn(labelled: LabelledSet, options: argparse.Namespace) -> tuple[tuple[Fold, ...], NDArray[np.int64]]:
    """The folds, and the places of the networks to report: all, or what joined after --learned-from.

    Raises BadRound where too few networks are left for either.
    """
    if options.learned_from is not None:
        stages = np.zeros(len(labelled.names), dtype=np.int64)
        for stage in options.learned_from:
            stages[since(labelled, options.digests, stage)] += 1
        return later_folds(labelled.samples, stages), np.flatnonzero(stages)
    folds = stratified_folds(
        labelled.samples,
        n_folds=options.folds,
        n_repeats=options.repeats,
        seed=options.seed,
    )
    return folds, np.arange(len(labelled.names))


def since(labelled: LabelledSet, digests: Path, stage: int) -> NDArray[np.int64]:
    """Places of the networks that joined after a stage of the set in `digests`.

    Raises BadRound where the folder has no stages, or none of that name.
    """
    path = digests / STAGES
    try:
        joined = pd.read_csv(path, index_col="model_name")["stage"]
    except (OSError, ValueError, KeyError) as error:
        raise BadRound(
            f"unreadable stages ({type(error).__name__}: {error})",
            where=path,
            expected="a table of model_name and stage",
            remedy="name a folder that has one, or leave the option out",
        ) from error
    before = {name for name, at in joined.items() if at <= stage}
    later = np.flatnonzero([name not in before for name in labelled.names])
    if stage not in set(joined) or not len(later):
        raise BadRound(
            f"no network joined after stage {stage}" if stage in set(joined) else f"no stage {stage}",
            where=path,
            expected=f"one of {', '.join(map(str, sorted(set(joined))))} that others followed",
            remedy="give another one, or leave the option out",
        )
    return later


def table(
    labelled: LabelledSet,
    ours: CrossValidation,
    theirs: Sequence[tuple[Rival, CrossValidation]],
    shown: NDArray[np.int64],
    options: argparse.Namespace,
) -> str:
    """Markdown of some of the networks, by their places."""
    judged = "" if options.learned_from is None else "each judged by what was there before it joined"
    rows, part = labelled.rows, ours.only(shown)
    others = [(rival, cv.only(shown)) for rival, cv in theirs]
    return as_markdown(compare(part, others, [rows[i] for i in shown]), part, judged)
