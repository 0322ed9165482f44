"""Other weights-only detectors on the folds of ours, from a digest folder: prints one markdown table.

    python benchmarks/rivals.py --digests reference --folds 5 --repeats 3 [--only dixon --only clp] [--classes]
        [--since METADATA.csv | --learned-from METADATA.csv]

`--classes` takes class-level supervision apart: our detector without class evidence, the evidence alone, and how often
the suspected target is the true one, out of fold. `--since` adds the table of those networks alone that an earlier
METADATA.csv does not name: where ours was chosen on the networks of then, that is the fair comparison. `--learned-from`
learns from the networks that it names, in the place of folds, and tries the others.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from numpy.typing import NDArray

from weightfeat import baselines, configure, features
from weightfeat.baselines.comparison import as_markdown, compare
from weightfeat.baselines.estimators import Calibrated, Pooled
from weightfeat.baselines.models import logistic
from weightfeat.baselines.protocol import Rival
from weightfeat.classmodel import class_rows, targets_of
from weightfeat.classmodel.measure import recovery_table
from weightfeat.classmodel.pipeline import WithClassEvidence
from weightfeat.detector import Detector
from weightfeat.errors import WeightfeatError
from weightfeat.evaluation.crossval import CrossValidation, cross_validate
from weightfeat.evaluation.folds import Fold, later_folds, stratified_folds
from weightfeat.labelled import LabelledSet, from_digests
from weightfeat.metaparameters import Metaparameters, load

ROOT = Path(__file__).resolve().parents[1]
Results = tuple[CrossValidation, list[tuple[Rival, CrossValidation]]]


def main() -> int:
    """0 when every rival ran; 2 with one line when the digests cannot be used."""
    arguments = _parser().parse_args()
    try:
        labelled = from_digests(arguments.digests)
        params = load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
        earlier = arguments.since or arguments.learned_from
        later = None if earlier is None else labelled.since(earlier)
        results = _tried(labelled, params, _folds(labelled, later, arguments), arguments)
        if arguments.learned_from is None:
            print(_table(labelled, results, np.arange(len(labelled.names))), end="")
        if later is not None:
            print("\n" + _table(labelled, results, later), end="")
        if arguments.classes:
            print("\n" + recovery_table(labelled), end="")
    except WeightfeatError as error:
        print(f"error: {error}", file=sys.stderr)
        return WeightfeatError.exit_code
    return 0


def _folds(
    labelled: LabelledSet, later: NDArray[np.int64] | None, arguments: argparse.Namespace
) -> tuple[Fold, ...]:
    if arguments.learned_from is not None and later is not None:
        return later_folds(labelled.labels, later, labelled.groups)
    return stratified_folds(
        *(labelled.labels, labelled.architectures, labelled.groups),
        n_folds=arguments.folds,
        n_repeats=arguments.repeats,
        seed=arguments.seed,
    )


def _table(labelled: LabelledSet, results: Results, shown: NDArray[np.int64]) -> str:
    """Markdown of some of the networks, by their places."""
    ours, theirs = results[0].only(shown), [(rival, cv.only(shown)) for rival, cv in results[1]]
    rows = labelled.rows
    return as_markdown(compare(ours, theirs, [rows[i] for i in shown]), ours)


def _tried(
    labelled: LabelledSet, params: Metaparameters, folds: tuple[Fold, ...], arguments: argparse.Namespace
) -> Results:
    """Our detector and the rivals, out of fold on the same folds."""
    found = baselines.rivals(arguments.digests, params)
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
        theirs.append((rival, baselines.run(rival, labelled, folds, jobs=arguments.jobs)))
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
    parser.add_argument("--digests", type=Path, default=ROOT / "reference")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", action="append", choices=[*baselines.RIVALS, "weightwatcher"])
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument(
        "--learned-from", type=Path, metavar="METADATA.csv", help="an earlier set's: no folds"
    )
    earlier.add_argument(
        "--since", type=Path, metavar="METADATA.csv", help="an earlier set's: add what is new"
    )
    parser.add_argument("--classes", action="store_true", help="add the recovery of the target class")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
