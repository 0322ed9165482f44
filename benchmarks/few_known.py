"""What a few networks of an architecture are worth to the detector: none, one pair or two known, the rest tested.

    python benchmarks/few_known.py [--digests reference] [--jobs 2]

Of every architecture with four whole pairs of the design or more, all networks but some pairs are left out of learning
and tested. Two choices of known pairs that share none see to it that each network is tested once, never with its pair
known. Detectors grow as few bags as a search's trials do. Prints markdown; differences are paired, over networks.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from numpy.typing import NDArray

from weightfeat.commands.program import run
from weightfeat.detector import Fold, Samples
from weightfeat.errors import BadRound
from weightfeat.evaluation.crossval import CrossValidation, cross_validate
from weightfeat.evaluation.intervals import bootstrap, paired_bootstrap
from weightfeat.evaluation.metrics import cross_entropy, roc_auc
from weightfeat.evaluation.tables import Cell, Table
from weightfeat.learning.running import progress_bar, workers
from weightfeat.learning.tuning import trial_detector
from weightfeat.metaparameters import Metaparameters, load
from weightfeat.rounds.labelled import from_digests

ROOT = Path(__file__).resolve().parents[1]
KNOWN = (0, 1, 2)
"""Pairs of the tested architecture that are learned from."""


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--digests", type=Path, default=ROOT / "reference", help="a digest folder")
    parser.add_argument("--jobs", type=int, default=2, help="processes; 0: one a core")
    options = parser.parse_args()
    samples = from_digests(options.digests).samples
    params = load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    print(report(tested(samples, params, options.jobs)), end="")
    return 0


def plan(samples: Samples) -> tuple[list[Fold], NDArray[np.int64]]:
    """A repeat for each of `KNOWN`, and the places of the networks to report.

    A repeat tests every network: those of architectures with fewer than four whole pairs, which are not reported, by
    what the others teach. Raises BadRound where no architecture has four.
    """
    architectures, groups = np.array(samples.architecture), np.array(samples.group)
    labels, every = samples.y, np.arange(len(samples))
    folds: list[Fold] = []
    for name in sorted(set(samples.architecture)):
        own = np.flatnonzero(architectures == name)
        pairs = [own[groups[own] == group] for group in dict.fromkeys(groups[own].tolist())]
        whole = [pair for pair in pairs if len(set(labels[pair].tolist())) == 2]
        if len(whole) < 2 * max(KNOWN):
            continue
        for repeat, known in enumerate(KNOWN):
            first, second = (np.concatenate([own[:0], *whole[at : at + known]]) for at in (0, max(KNOWN)))
            most = np.setdiff1d(own, first)
            folds.append(Fold(repeat, len(folds), np.setdiff1d(every, most), most, name))
            if known:
                learned = np.union1d(np.setdiff1d(every, own), second)
                folds.append(Fold(repeat, len(folds), learned, first, name))
    if not folds:
        raise BadRound(
            "no architecture has four clean and trojaned pairs of the design",
            where="METADATA.csv",
            expected="some architecture with eight networks",
            remedy="add networks",
        )
    reported = np.unique(np.concatenate([fold.test for fold in folds]))
    rest = np.setdiff1d(every, reported)
    if rest.size:
        folds += [Fold(repeat, len(folds), reported, rest, "not reported") for repeat in range(len(KNOWN))]
    return folds, reported


def tested(samples: Samples, params: Metaparameters, jobs: int) -> CrossValidation:
    """The networks to report, a repeat for each of `KNOWN`."""
    folds, reported = plan(samples)
    known, make = samples.computed(params.blocks), partial(trial_detector, params)
    with progress_bar("few known", "fold", sys.stderr.isatty()) as advance:
        cv = cross_validate(known, make, folds, jobs=workers(jobs), progress=advance)
    return cv.only(reported)


def report(cv: CrossValidation) -> str:
    """Markdown: all networks together, then each architecture."""
    y, architectures = cv.labels, np.array(cv.architectures)
    of = {name: architectures == name for name in sorted(set(cv.architectures))}
    learned = {
        "networks of its architecture known": "",
        **{
            "CE": ".3f",
            "CE, less than with none": "+.3f",
            "AUC": ".3f",
            "mean AUC of an architecture": ".3f",
        },
    }
    none = cv.probabilities[0]
    together: list[tuple[Cell, ...]] = []
    each: list[tuple[Cell, ...]] = []
    for known, p in zip(KNOWN, cv.probabilities, strict=True):
        within = float(np.mean([roc_auc(y[own], p[own]) for own in of.values()]))
        change = paired_bootstrap(y, p, none, "cross_entropy") if known else None
        ce, auc = (bootstrap(y, p, statistic) for statistic in ("cross_entropy", "roc_auc"))
        together.append((2 * known, ce, change, auc, within))
        each.append((f"{2 * known} known", *(cross_entropy(y[own], p[own]) for own in of.values())))
    return "\n".join(
        [
            f"{y.size} networks of {len(of)} architectures, {y.sum()} trojaned; intervals over networks.\n",
            Table.of(learned, together).markdown(),
            Table.of({"CE": "", **dict.fromkeys(of, ".3f")}, each).markdown(),
        ]
    )


if __name__ == "__main__":
    raise SystemExit(run(main))
