"""Rivals where nothing of a recipe was learned: every level of a factor left out in turn, beside the general model.

    python benchmarks/recipe_rivals.py [--digests reference] [--recipes recipes] [--factor data --factor sources ...]

What we say of a network of an unknown recipe is the general model's; it and every rival learn from the networks of all
other levels. Prints a markdown table a factor; differences are ours less theirs, paired, intervals over networks.
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

import rival_detectors
from rival_detectors.comparison import as_markdown, compare
from rival_detectors.protocol import Rival
from weightfeat.commands.program import run
from weightfeat.detector import Samples
from weightfeat.detector.calibration import sigmoid
from weightfeat.detector.general.learning import fit_general
from weightfeat.detector.general.model import General
from weightfeat.errors import BadRound
from weightfeat.evaluation.crossval import CrossValidation, cross_validate
from weightfeat.evaluation.folds import leave_one_out_folds
from weightfeat.evaluation.recipes import FACTORS, recipe_levels
from weightfeat.evaluation.silence import Row
from weightfeat.metaparameters import Metaparameters, load
from weightfeat.rounds.labelled import from_digests

ROOT = Path(__file__).resolve().parents[1]
TRIED = ("mean-z", "row-norm", "dixon", "final-layer", "latents", "latents-all")
"""Rivals that ask no more of a digest than is kept of recipes."""


class GeneralAlone:
    """The general model as an estimator; it says one half where it has nothing to learn from."""

    def __init__(self, params: Metaparameters) -> None:
        self.params = params

    def fit(self, samples: Samples) -> GeneralAlone:
        """Learn from samples of digests."""
        found = fit_general(samples, self.params.train_folds, self.params.train_seed)
        if found is None:
            raise BadRound(
                "no network has three classes and more of either label",
                where="labels",
                expected="clean and trojaned networks of several classes",
                remedy="add networks",
            )
        self.general: General = found
        return self

    def predict_proba(self, samples: Samples) -> NDArray[np.float64]:
        """(n, 2): probability of clean and of trojaned."""
        clip = self.params.infer_clip
        p = np.clip(sigmoid(self.general.logits(samples.standings)), clip, 1 - clip)
        return np.column_stack([1 - p, p])


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--digests", type=Path, default=ROOT / "reference", help="a digest folder")
    parser.add_argument("--recipes", type=Path, default=ROOT / "recipes", help="networks of other recipes")
    parser.add_argument("--factor", action="append", choices=FACTORS, help="left out; data unless said")
    options = parser.parse_args()
    params = load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    home, others = from_digests(options.digests), from_digests(options.recipes)
    samples = home.samples.beside(others.samples)
    print("\n".join(tables(samples, (*home.rows, *others.rows), params, options.factor or ["data"])), end="")
    return 0


def tables(samples: Samples, rows: tuple[Row, ...], params: Metaparameters, factors: list[str]) -> list[str]:
    """Markdown, one for each factor."""
    levels = recipe_levels(rows)
    found = []
    for factor in factors:
        folds = leave_one_out_folds(samples, levels[factor])
        own = cross_validate(samples, partial(GeneralAlone, params), folds)
        theirs: list[tuple[Rival, CrossValidation]] = []
        for name in TRIED:
            start, rival = time.perf_counter(), rival_detectors.RIVALS[name]
            theirs.append((rival, rival_detectors.run(rival, samples, folds)))
            print(f"{factor}, {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
        judged = f"every level of {factor} left out in turn"
        found.append(as_markdown(compare(own, theirs, rows), own, judged))
    return found


if __name__ == "__main__":
    raise SystemExit(run(main))
