"""What a user's own clean networks bring: none, five or ten of them, of a recipe that was not learned from.

    python benchmarks/own_clean.py [--digests reference] [--recipes recipes] [--draws 100]

The networks of one source of images are left out of all that is learned, and take the user's place: some of the clean
ones, drawn by chance, are given to `weightfeat calibrate`, the others are judged with what it found. Every number of
known networks is asked of the same rest, so that what differs is what they bring. Prints markdown: means over draws,
and over sources in the last rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weightfeat.commands.program import run
from weightfeat.detector import Samples
from weightfeat.detector.calibration import sigmoid
from weightfeat.detector.general.learning import fit_general
from weightfeat.detector.general.model import General
from weightfeat.detector.kinds import ALL, Against
from weightfeat.detector.local import LocalKind, local_kind
from weightfeat.detector.words import ALARM, LEAST_PROBABILITY
from weightfeat.evaluation.metrics import cross_entropy
from weightfeat.evaluation.tables import Table
from weightfeat.metaparameters import Metaparameters, load
from weightfeat.rounds.labelled import from_digests

ROOT = Path(__file__).resolve().parents[1]
KNOWN = (0, 5, 10)
FEWEST_JUDGED = 5
"""Clean networks that must be left to judge."""


@dataclass(frozen=True)
class Outcome:
    """Of one draw: cross-entropy, and the share of clean networks that were called trojaned."""

    source: str
    known: int
    cross_entropy: float
    called: float


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--digests", type=Path, default=ROOT / "reference", help="a digest folder")
    parser.add_argument("--recipes", type=Path, default=ROOT / "recipes", help="networks of other recipes")
    parser.add_argument("--draws", type=int, default=100, help="draws of known networks a source")
    options = parser.parse_args()
    params = load(ROOT / "metaparameters.json", ROOT / "metaparameters_schema.json")
    samples = from_digests(options.digests).samples.beside(from_digests(options.recipes).samples)
    print(report(outcomes(samples, params, options.draws)).markdown(), end="")
    return 0


def outcomes(samples: Samples, params: Metaparameters, draws: int) -> list[Outcome]:
    """Every draw of every source that has networks enough."""
    found = []
    origin = np.array(samples.recipe)
    for source in sorted(set(samples.recipe) - {""}):
        general = fit_general(
            samples.take(np.flatnonzero(origin != source)), params.train_folds, params.train_seed
        )
        own = samples.take(np.flatnonzero(origin == source))
        if general is None or (own.y == 0).sum() < max(KNOWN) + FEWEST_JUDGED:
            continue
        logit = general.logits(own.standings)
        for draw in range(draws):
            order = np.random.default_rng([draw, 1]).permutation(np.flatnonzero(own.y == 0))
            judged = np.concatenate([np.flatnonzero(own.y == 1), order[max(KNOWN) :]])
            for known in KNOWN:
                kind = _kind(general, own, logit[order[:known]]) if known else None
                found.append(_outcome(source, known, logit[judged], own.y[judged], general, kind, params))
    return found


def _kind(general: General, own: Samples, logits: NDArray[np.float64]) -> LocalKind:
    against = [Against(general.kinds[ALL], float(each), True, general.doubt) for each in logits]
    return local_kind(own.networks[0].digest, against)


def _outcome(
    source: str,
    known: int,
    logit: NDArray[np.float64],
    y: NDArray[np.int64],
    general: General,
    kind: LocalKind | None,
    params: Metaparameters,
) -> Outcome:
    moved = logit if kind is None else kind.corrected(logit)
    p = np.clip(sigmoid(moved), params.infer_clip, 1 - params.infer_clip)
    shares = np.array([general.kinds[ALL].clean_share(float(each)) for each in moved])
    called = (shares <= ALARM) & (p >= LEAST_PROBABILITY)
    return Outcome(source, known, cross_entropy(y, p), float(called[y == 0].mean()))


def report(found: Iterable[Outcome]) -> Table:
    """A row a source and a number of known networks, and one a number for all sources alike."""
    draws: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for each in found:
        draws.setdefault((each.source, each.known), []).append((each.cross_entropy, each.called))
    means = {cell: np.mean(of, axis=0) for cell, of in draws.items()}
    over = {known: [of for (_, each), of in means.items() if each == known] for known in KNOWN}
    every = {("all", known): np.mean(of, axis=0) for known, of in over.items() if of}
    columns = {
        "source left out": "",
        "clean ones known": "",
        "cross-entropy": ".3f",
        "called trojaned": ".3f",
    }
    rows = [(source, known, *of.tolist()) for (source, known), of in (means | every).items()]
    return Table.of(columns, rows)


if __name__ == "__main__":
    run(main)
