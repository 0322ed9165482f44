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
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from joblib import Parallel, delayed, parallel_config
from numpy.typing import NDArray

from weightfeat import configure
from weightfeat.errors import BadRound, WeightfeatError
from weightfeat.evaluation.crossval import fit_and_score, worker_options
from weightfeat.evaluation.intervals import Estimate, bootstrap, paired_bootstrap
from weightfeat.evaluation.metrics import cross_entropy, roc_auc
from weightfeat.labelled import LabelledSet, from_digests
from weightfeat.metaparameters import Metaparameters, load

ROOT = Path(__file__).resolve().parents[1]
KNOWN = (0, 1, 2)
"""Pairs of the tested architecture that are learned from."""


@dataclass(frozen=True, eq=False)
class Test:
    """`tested` (m,) are scored by a detector learned from `learned`, with `known` pairs of their architecture in it."""

    known: int
    learned: NDArray[np.int64]
    tested: NDArray[np.int64]


def main() -> int:
    """0 with the tables printed; an error's exit code and one line where something cannot be used."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--digests", type=Path, default=ROOT / "reference", help="a digest folder")
    parser.add_argument("--jobs", type=int, default=2, help="processes; 0: one a core")
    options = parser.parse_args()
    try:
        labelled = from_digests(options.digests)
        params = load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
        print(report(labelled, probabilities(labelled, params, options.jobs)), end="")
    except WeightfeatError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def plan(labelled: LabelledSet) -> list[Test]:
    """Every test there is. Raises BadRound where no architecture has four whole pairs."""
    architectures, groups = np.array(labelled.architectures), np.array(labelled.groups)
    labels = np.array(labelled.labels)
    tests = []
    for name in sorted(set(labelled.architectures)):
        own = np.flatnonzero(architectures == name)
        pairs = [own[groups[own] == group] for group in dict.fromkeys(groups[own].tolist())]
        whole = [pair for pair in pairs if len(set(labels[pair].tolist())) == 2]
        if len(whole) < 2 * max(KNOWN):
            continue
        others = np.flatnonzero(architectures != name)
        for known in KNOWN:
            first, second = (np.concatenate([own[:0], *whole[at : at + known]]) for at in (0, max(KNOWN)))
            tests.append(Test(known, np.sort(np.r_[others, first]), np.setdiff1d(own, first)))
            if known:
                tests.append(Test(known, np.sort(np.r_[others, second]), first))
    if not tests:
        raise BadRound(
            "no architecture has four clean and trojaned pairs of the design",
            where="METADATA.csv",
            expected="some architecture with eight networks",
            remedy="add networks",
        )
    return tests


def probabilities(labelled: LabelledSet, params: Metaparameters, jobs: int) -> dict[int, NDArray[np.float64]]:
    """By the number of known pairs, each network's probability of a trojan, (n,); NaN where it was not tested."""
    tests = plan(labelled)
    table = configure.feature_table(labelled, params.blocks)
    make = partial(configure.trial_estimators(labelled), params)
    about = (np.array(labelled.labels), labelled.architectures, labelled.families, labelled.groups)
    tasks = (delayed(fit_and_score)(make, table, *about, test.learned, test.tested) for test in tests)
    scores: dict[int, NDArray[np.float64]] = defaultdict(lambda: np.full(len(table), np.nan))
    with (
        parallel_config(**worker_options(jobs)),
        configure.bar("few known", "fit", sys.stderr.isatty()) as advance,
    ):
        found = Parallel(return_as="generator", max_nbytes=None)(tasks)
        for number, (test, score) in enumerate(zip(tests, found, strict=True)):
            scores[test.known][test.tested] = score
            advance(number + 1, len(tests))
    return dict(scores)


def report(labelled: LabelledSet, scores: dict[int, NDArray[np.float64]]) -> str:
    """Markdown: all networks together, then each architecture."""
    tested = ~np.isnan(scores[0])
    y, none = np.array(labelled.labels)[tested], scores[0][tested]
    architectures = np.array(labelled.architectures)[tested]
    names = sorted(set(architectures.tolist()))
    lines = [
        f"{tested.sum()} networks of {len(names)} architectures, {y.sum()} trojaned; intervals over networks.",
        "",
        "| networks of its architecture known | CE | CE, less than with none | AUC | mean AUC of an architecture |",
        "|---|---|---|---|---|",
    ]
    for known, score in scores.items():
        p = score[tested]
        within = np.mean([roc_auc(y[architectures == name], p[architectures == name]) for name in names])
        change = "" if not known else shown(paired_bootstrap(y, p, none, "cross_entropy"), "+")
        figures = (shown(bootstrap(y, p, "cross_entropy")), change, shown(bootstrap(y, p, "roc_auc")))
        lines.append(f"| {2 * known} | {' | '.join(figures)} | {within:.3f} |")
    lines += ["", f"| CE | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for known, score in scores.items():
        p = score[tested]
        each = [f"{cross_entropy(y[architectures == name], p[architectures == name]):.3f}" for name in names]
        lines.append(f"| {2 * known} known | {' | '.join(each)} |")
    return "\n".join(lines) + "\n"


def shown(estimate: Estimate, sign: str = "") -> str:
    """A value and its interval."""
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


if __name__ == "__main__":
    raise SystemExit(main())
