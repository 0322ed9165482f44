"""Other weights-only detectors on the folds of ours, from a digest folder: prints one markdown table.

    python benchmarks/rivals.py --digests reference --folds 5 --repeats 3 [--only dixon --only clp] [--classes]
        [--since METADATA.csv | --learned-from METADATA.csv ...]

`--classes` takes class-level supervision apart: our detector without class evidence, the evidence alone, and how often
the suspected target is the true one, out of fold. `--since` adds the table of those networks alone that an earlier
METADATA.csv does not name: where ours was chosen on the networks of then, that is the fair comparison. `--learned-from`
takes the lists of the set when it was smaller, in the place of folds: every network that joined it since is judged by a
detector, and by rivals, learned from those that were there before it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import comparison
import rival_detectors
from rival_detectors.estimators import Calibrated, Pooled
from rival_detectors.models import logistic
from rival_detectors.protocol import Rival
from weightfeat import configure, features
from weightfeat.classmodel import class_rows, targets_of
from weightfeat.classmodel.measure import recovery_table
from weightfeat.classmodel.pipeline import WithClassEvidence
from weightfeat.commands.program import run
from weightfeat.detector import Detector
from weightfeat.evaluation.crossval import CrossValidation, cross_validate
from weightfeat.evaluation.folds import Fold
from weightfeat.metaparameters import Metaparameters, load
from weightfeat.rounds.labelled import LabelledSet, from_digests

Results = tuple[CrossValidation, list[tuple[Rival, CrossValidation]]]


def main() -> int:
    """Print the tables; 0 when every rival ran."""
    arguments = _parser().parse_args()
    labelled = from_digests(arguments.digests)
    params = load(comparison.ROOT / "metaparameters.json", comparison.ROOT / "metaparameters_schema.json")
    folds, shown = comparison.drawn(labelled, arguments)
    later = None if arguments.since is None else labelled.since(arguments.since)
    ours, theirs = _tried(labelled, params, folds, arguments)
    print(comparison.table(labelled, ours, theirs, shown, arguments), end="")
    if later is not None:
        print("\n" + comparison.table(labelled, ours, theirs, later, arguments), end="")
    if arguments.classes:
        print("\n" + recovery_table(labelled), end="")
    return 0


def _tried(
    labelled: LabelledSet, params: Metaparameters, folds: tuple[Fold, ...], arguments: argparse.Namespace
) -> Results:
    """Our detector and the rivals, out of fold on the same folds."""
    found = rival_detectors.rivals(arguments.digests, params)
    if "weightwatcher" not in found:
        print(f"absent: {arguments.digests / 'weightwatcher'} holds no tables", file=sys.stderr)
    chosen = [found[name] for name in arguments.only or found if name in found]
    if arguments.classes:
        chosen = [*_apart(labelled, params), *chosen]
    start = time.perf_counter()
    ours = cross_validate(
        configure.feature_table(labelled, params.blocks),
        *(labelled.labels, labelled.architectures, labelled.families, labelled.groups),
        partial(configure.estimators(labelled), params),
        folds,
        jobs=arguments.jobs,
    )
    print(f"weightfeat: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    theirs: list[tuple[Rival, CrossValidation]] = []
    for rival in chosen:
        start = time.perf_counter()
        theirs.append((rival, rival_detectors.run(rival, labelled, folds, jobs=arguments.jobs)))
        print(f"{rival.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return ours, theirs


def _apart(labelled: LabelledSet, params: Metaparameters) -> list[Rival]:
    """Our detector without the class evidence's columns, and a logistic regression on those columns alone."""
    rows = {n: class_rows(digest) for n, digest in zip(labelled.names, labelled.digests, strict=True)}
    targets = dict(zip(labelled.names, targets_of(labelled), strict=True))
    simple = partial(Calibrated, partial(Pooled, logistic))
    return [
        Rival(
            "weightfeat without class evidence",
            "this repository",
            lambda digest: features.row(digest, params.blocks),
            partial(Detector, params, raw_columns=features.relative_names(params.blocks)),
        ),
        Rival(
            "class evidence alone, logistic",
            "this repository",
            lambda digest: {"classes": digest.num_classes},
            partial(WithClassEvidence, simple, rows, targets, alone=True),
        ),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    earlier = comparison.add_options(parser)
    parser.add_argument("--only", action="append", choices=[*rival_detectors.RIVALS, "weightwatcher"])
    earlier.add_argument(
        "--since", type=Path, metavar="METADATA.csv", help="an earlier set's: add what is new"
    )
    parser.add_argument("--classes", action="store_true", help="add the recovery of the target class")
    return parser


if __name__ == "__main__":
    raise SystemExit(run(main))
