"""What networks of other recipes bring at home: the reference set and the holdout, judged with more and more beside it.

    python benchmarks/recipe_curve.py [--digests reference] [--recipes recipes] [--holdout holdout] [--counts 0 100 200]
        [--whole]

Whole pairs in one shuffled order, so that more holds all that fewer held. Judged is the general model, which alone
learns from them. `--whole` adds the whole detector (minutes more): all else learns from the reference set and is fitted
once a fold, with as few bags as a search's trials. Prints markdown.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from numpy.typing import NDArray

from weightfeat.commands.arguments import natural
from weightfeat.commands.program import run
from weightfeat.detector import Detector, Samples
from weightfeat.detector.calibration import sigmoid
from weightfeat.detector.folds import stratified_folds, units_of_groups
from weightfeat.detector.general.learning import fit_general
from weightfeat.detector.general.model import General
from weightfeat.evaluation.intervals import Estimate, bootstrap
from weightfeat.evaluation.tables import Table
from weightfeat.learning.tuning import trial_detector
from weightfeat.metaparameters import Metaparameters, load
from weightfeat.rounds.labelled import from_digests

ROOT = Path(__file__).resolve().parents[1]
FOLDS = 5


@dataclass(frozen=True, eq=False)
class Said:
    """Probabilities of a trojan, (n,), by the general model alone and, where that is asked for, the whole detector."""

    general: NDArray[np.float64]
    whole: NDArray[np.float64] | None


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--digests", type=Path, default=ROOT / "reference", help="a digest folder")
    parser.add_argument("--recipes", type=Path, default=ROOT / "recipes", help="networks of other recipes")
    parser.add_argument("--holdout", type=Path, default=ROOT / "holdout", help="networks never learned from")
    parser.add_argument("--counts", type=natural, nargs="+", default=[0, 100, 200], help="and all")
    parser.add_argument("--whole", action="store_true", help="judge by the whole detector too")
    options = parser.parse_args()
    params = load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    home, recipes, fresh = (
        from_digests(folder).samples for folder in (options.digests, options.recipes, options.holdout)
    )
    print(curve(home, recipes, fresh, options.counts, params, whole=options.whole).markdown(), end="")
    return 0


def curve(
    home: Samples,
    recipes: Samples,
    fresh: Samples,
    counts: Sequence[int],
    params: Metaparameters,
    *,
    whole: bool,
) -> Table:
    """A row for every count of networks beside, all of them the last."""
    beside = [*(nearest(recipes, count) for count in sorted(counts) if count < len(recipes)), recipes]
    nothing = np.zeros((len(beside), len(home)))
    general, detector = nothing.copy(), nothing.copy()
    for done, fold in enumerate(stratified_folds(home, n_folds=FOLDS, n_repeats=1), 1):
        for at, said in enumerate(judged(home.take(fold.train), beside, home.take(fold.test), params, whole)):
            general[at, fold.test] = said.general
            if said.whole is not None:
                detector[at, fold.test] = said.whole
        print(f"fold {done} of {FOLDS}", file=sys.stderr)
    later = judged(home, beside, fresh, params, whole)
    rows: list[tuple[int | Estimate, ...]] = []
    for part, own, ours, new in zip(beside, general, detector, later, strict=True):
        cells = [(home, own), (fresh, new.general)]
        cells += [] if new.whole is None else [(home, ours), (fresh, new.whole)]
        rows.append((len(part), *(bootstrap(of.y, p[None], "cross_entropy") for of, p in cells)))
    names = ["in folds", "of the holdout"]
    names += [f"{name}, whole detector" for name in names] if whole else []
    return Table.of({"networks beside": "", **{f"CE {name}": ".3f" for name in names}}, rows)


def nearest(recipes: Samples, count: int) -> Samples:
    """Whole pairs of about as many networks."""
    units = units_of_groups(recipes.group)
    order = np.random.default_rng(0).permutation(len(units))
    places = np.concatenate([np.zeros(0, np.int64), *(units[at] for at in order)])
    last = next((end for end in np.cumsum([len(units[at]) for at in order]) if end >= count), 0)
    return recipes.take(np.sort(places[: last if count else 0]))


def judged(
    train: Samples, beside: Sequence[Samples], test: Samples, params: Metaparameters, whole: bool
) -> list[Said]:
    """What is said of `test` with each of `beside`."""
    alone = trial_detector(params).fit(train) if whole else None
    found = []
    for part in beside:
        every = train.beside(part) if len(part) else train
        general = fit_general(every, params.train_folds, params.train_seed)
        assert general is not None
        clip, logits = params.infer_clip, general.logits(test.standings)
        of_general = np.clip(sigmoid(logits), clip, 1 - clip)
        found.append(Said(of_general, None if alone is None else _with(alone, general, test)))
    return found


def _with(alone: Detector, general: General, test: Samples) -> NDArray[np.float64]:
    """What a detector says with another general model."""
    detector = Detector(alone.params)
    detector.learned_ = replace(alone.learned_, general=general)
    return detector.predict_proba(test)[:, 1]


if __name__ == "__main__":
    raise SystemExit(run(main))
