"""What each part of the detector is worth: variants against the shipped metaparameters, on the same folds.

    python benchmarks/ablation.py [--digests reference] [--folds 5] [--repeats 3] [--change train_num_leaves=4 ...]
        [--learned-from STAGE ...]

By default: every feature block left out, every block alone beside class evidence, class evidence left out, trees alone,
class evidence alone. `--change NAME=VALUE[,NAME=VALUE]` (repeatable) tries other metaparameters instead. All of them,
the shipped one too, grow as few bags as a search's trials do. `--learned-from` takes stages of the set when
it was smaller, in the place of folds, and judges every network that joined it since by those that were there before:
what these suggested is asked of networks that had no part in it. Prints markdown: differences are the shipped
detector's minus the variant's, so a positive CE difference speaks for the variant.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import comparison
from argument_types import metaparameter_change
from rival_detectors.protocol import Rival
from weightfeat.commands.program import run
from weightfeat.evaluation.crossval import cross_validate
from weightfeat.learning.tuning import trial_detector
from weightfeat.metaparameters import BLOCK_PREFIX, Metaparameters, load
from weightfeat.rounds.labelled import LabelledSet, from_digests

Change = dict[str, Any]


def main() -> int:
    """Print the table; 0 when every variant ran."""
    options = _parser().parse_args()
    labelled = from_digests(options.digests)
    params = load(comparison.ROOT / "metaparameters.json", comparison.ROOT / "metaparameters_schema.json")
    variants = dict(options.change) if options.change else parts(params)
    print(_table(labelled, params, variants, options), end="")
    return 0


def parts(params: Metaparameters) -> dict[str, Change]:
    """The default variants, by name."""
    switches = [name for name, on in params.as_dict().items() if name.startswith(BLOCK_PREFIX) and on]
    without = {f"without {name.removeprefix(BLOCK_PREFIX)}": {name: False} for name in switches}
    alone = {
        f"{name.removeprefix(BLOCK_PREFIX)} and classes": dict.fromkeys(switches, False) | {name: True}
        for name in switches
    }
    return {
        "without class evidence": {"train_class_evidence": False},
        "trees alone": {"train_class_weight": 0.0},
        "class evidence alone": {"train_class_weight": 1.0},
        **without,
        **alone,
    }


def _table(
    labelled: LabelledSet, params: Metaparameters, variants: dict[str, Change], options: argparse.Namespace
) -> str:
    folds, shown = comparison.drawn(labelled, options)
    scored = []
    for name, change in {"shipped": {}, **variants}.items():
        start = time.perf_counter()
        changed = params.replace(**change)
        variant = Rival(name, "this repository", lambda digest: {}, partial(trial_detector, changed))
        samples = labelled.samples.computed(changed.blocks)
        cv = cross_validate(samples, variant.make_estimator, folds, jobs=options.jobs)
        scored.append((variant, cv))
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    (_, ours), theirs = scored[0], scored[1:]
    return comparison.table(labelled, ours, theirs, shown, options)


def _variant(text: str) -> tuple[str, Change]:
    return text, metaparameter_change(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    comparison.add_options(parser)
    parser.add_argument("--change", type=_variant, action="append", metavar="NAME=VALUE,...")
    return parser


if __name__ == "__main__":
    raise SystemExit(run(main))
