"""What the comparisons share: the folds that a command line asks for, and the table of the networks they report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rival_detectors.comparison import as_markdown, compare
from rival_detectors.protocol import Rival
from weightfeat.commands.arguments import at_least_two, natural, positive
from weightfeat.detector.folds import Fold, stratified_folds
from weightfeat.evaluation.crossval import CrossValidation
from weightfeat.evaluation.folds import later_folds
from weightfeat.rounds.labelled import LabelledSet

ROOT = Path(__file__).resolve().parents[1]


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
        type=Path,
        nargs="+",
        metavar="METADATA.csv",
        help="lists of the set when it was smaller: what joined it since is judged by what was there, no folds",
    )
    return earlier


def drawn(labelled: LabelledSet, options: argparse.Namespace) -> tuple[tuple[Fold, ...], NDArray[np.int64]]:
    """The folds, and the places of the networks to report: all, or what joined after --learned-from.

    Raises BadRound where too few networks are left for either.
    """
    if options.learned_from is not None:
        stages = np.zeros(len(labelled.names), dtype=np.int64)
        for earlier in options.learned_from:
            stages[labelled.since(earlier)] += 1
        return later_folds(labelled.samples, stages), np.flatnonzero(stages)
    folds = stratified_folds(
        labelled.samples,
        n_folds=options.folds,
        n_repeats=options.repeats,
        seed=options.seed,
    )
    return folds, np.arange(len(labelled.names))


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
