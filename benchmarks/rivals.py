"""Other weights-only detectors on the folds of ours, from a digest folder: prints one markdown table.

    python benchmarks/rivals.py --digests reference --folds 5 --repeats 3 [--only dixon --only clp] [--classes]
        [--since STAGE | --learned-from STAGE ...]

`--classes` takes class-level supervision apart: our detector without class evidence, the evidence alone, and how often
the suspected target is the true one, out of fold. `--since` adds the table of those networks alone that joined
after a stage of the set: where ours was chosen on the networks of then, that is the fair comparison. `--learned-from`
takes stages of the set in the place of folds: every network that joined it since is judged by a detector, and by
rivals, learned from those that were there before it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import comparison
import rival_detectors
from rival_detectors.protocol import Rival
from weightfeat.commands.arguments import positive
from weightfeat.commands.program import run
from weightfeat.detector import Detector, Fold
from weightfeat.evaluation.crossval import CrossValidation, cross_validate
from weightfeat.evaluation.naming import recovery_table
from weightfeat.metaparameters import Metaparameters, load
from weightfeat.rounds.labelled import LabelledSet, from_digests

Results = tuple[CrossValidation, list[tuple[Rival, CrossValidation]]]


def main() -> int:
    """Print the tables; 0 when every rival ran."""
    arguments = _parser().parse_args()
    labelled = from_digests(arguments.digests)
    params = load(comparison.ROOT / "metaparameters.json", comparison.ROOT / "metaparameters_schema.json")
    folds, shown = comparison.drawn(labelled, arguments)
    later = (
        None if arguments.since is None else comparison.since(labelled, arguments.digests, arguments.since)
    )
    ours, theirs = _tried(labelled, params, folds, arguments)
    print(comparison.table(labelled, ours, theirs, shown, arguments), end="")
    if later is not None:
        print("\n" + comparison.table(labelled, ours, theirs, later, arguments), end="")
    if arguments.classes:
        print("\n" + recovery_table(labelled.samples, labelled.rows, params), end="")
    return 0


def _tried(
    labelled: LabelledSet, params: Metaparameters, folds: tuple[Fold, ...], arguments: argparse.Namespace
) -> Results:
    """Our detector and the rivals, out of fold on the same folds."""
    found = rival_detectors.rivals(arguments.digests, params)
    if "weightwatcher" not in found:
        print(f"absent: {arguments.digests / 'weightwatcher'} holds no tables", file=sys.stderr)
    chosen = [found[name] for name in arguments.only or found if name in found]
    samples = labelled.samples.computed(params.blocks)
    variants = {"weightfeat": params} | (_apart(params) if arguments.classes else {})
    tried = []
    for name, values in variants.items():
        start = time.perf_counter()
        variant = Rival(name, "this repository", lambda digest: {}, partial(Detector, values))
        cv = cross_validate(samples, variant.make_estimator, folds, jobs=arguments.jobs)
        tried.append((variant, cv))
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    (_, ours), theirs = tried[0], tried[1:]
    for rival in chosen:
        start = time.perf_counter()
        theirs.append((rival, rival_detectors.run(rival, samples, folds, jobs=arguments.jobs)))
        print(f"{rival.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return ours, theirs


def _apart(params: Metaparameters) -> dict[str, Metaparameters]:
    """Our detector without the evidence of classes, and with nothing but it."""
    return {
        "weightfeat without class evidence": params.replace(train_class_evidence=False),
        "class evidence alone": params.replace(train_class_weight=1.0),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    earlier = comparison.add_options(parser)
    parser.add_argument("--only", action="append", choices=[*rival_detectors.RIVALS, "weightwatcher"])
    earlier.add_argument(
        "--since", type=positive, metavar="STAGE", help="add the table of what joined after it"
    )
    parser.add_argument("--classes", action="store_true", help="add the recovery of the target class")
    return parser


if __name__ == "__main__":
    raise SystemExit(run(main))
