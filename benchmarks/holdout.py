"""The shipped detector on networks of another seed that configure never saw, beside rivals learned from the same set.

    python benchmarks/holdout.py [--reference reference] [--holdout holdout] [--learned-parameters learned_parameters]

Nothing is fitted, tuned or chosen on the holdout. Prints markdown: every detector, ours by cell, the suspected target
classes, and each network.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import rival_detectors
from rival_detectors.comparison import as_markdown, compare
from rival_detectors.protocol import Rival
from weightfeat.commands.program import run
from weightfeat.detector import Detector, Fold, Samples, Suspect
from weightfeat.detector.out_of_fold import fit_and_judge
from weightfeat.errors import BadRound
from weightfeat.evaluation.control import CONTROLS, control_samples
from weightfeat.evaluation.crossval import CrossValidation, Estimator, fitted
from weightfeat.evaluation.intervals import Estimate, Margin
from weightfeat.evaluation.metrics import elementwise_cross_entropy
from weightfeat.evaluation.naming import as_markdown as recovery_markdown
from weightfeat.evaluation.naming import recoveries
from weightfeat.evaluation.strata import stratify, trojan_cell
from weightfeat.evaluation.tables import Table
from weightfeat.rounds.labelled import LabelledSet, from_digests

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, default=ROOT / "reference", help="what rivals learn from")
    parser.add_argument("--holdout", type=Path, default=ROOT / "holdout")
    parser.add_argument("--learned-parameters", type=Path, default=ROOT / "learned_parameters")
    options = parser.parse_args()
    known, fresh = from_digests(options.reference), from_digests(options.holdout)
    require_apart(known, fresh, options.holdout)
    print(report(known, fresh, Detector.load(options.learned_parameters)), end="")
    return 0


def require_apart(known: LabelledSet, fresh: LabelledSet, where: Path) -> None:
    """Raises BadRound where a network of the holdout is one of the reference set."""
    shared = {digest.key for digest in known.digests} & {digest.key for digest in fresh.digests}
    if shared:
        raise BadRound(
            f"{len(shared)} networks are in the reference set too (first: {min(shared)[:16]})",
            where=where,
            expected="networks that nothing was learned from",
            remedy="make them with another --seed",
        )


def report(known: LabelledSet, fresh: LabelledSet, detector: Detector) -> str:
    """Markdown: detectors beside each other, ours by cell, targets found, networks."""
    verdicts = [detector.predict(digest) for digest in fresh.digests]
    ours = scored(fresh, np.array([verdict.probability for verdict in verdicts]))
    every = both(known, fresh).samples
    metadata = control_samples(every)
    others = [
        (rival, learned_from(rival_detectors.known_by(every, rival), fresh, rival.make_estimator))
        for rival in rival_detectors.RIVALS.values()
    ]
    # A control is no rival, but has a row like one; its columns are made, not asked of digests.
    others += [
        (
            Rival(f"control: metadata alone, {kind}", "control", lambda digest: {}, make),
            learned_from(metadata, fresh, make),
        )
        for kind, make in CONTROLS.items()
    ]
    suspects = [verdict.suspect for verdict in verdicts]
    table = as_markdown(compare(ours, others, fresh.rows), ours, "learned from the reference set")
    parts = [table, by_cell(ours, fresh)]
    return "\n".join(
        [*parts, found(suspects, ours.probabilities[0].tolist(), fresh), each(ours, suspects, fresh)]
    )


def scored(fresh: LabelledSet, probabilities: NDArray[np.float64]) -> CrossValidation:
    """Probabilities of the holdout as a single fold that tests all of it."""
    one = np.zeros((1, len(fresh.names)), dtype=np.int64)
    labels = np.array(fresh.labels)
    return CrossValidation(
        fresh.names,
        labels,
        fresh.samples.architecture,
        probabilities[None],
        one,
        ("learned from the reference set",),
    )


def both(known: LabelledSet, fresh: LabelledSet) -> LabelledSet:
    """The reference set, then the holdout, under names of their own: both count from id-00000000."""
    names = (*(f"known {name}" for name in known.names), *(f"fresh {name}" for name in fresh.names))
    metadata = pd.concat([known.metadata, fresh.metadata])
    return LabelledSet(names, known.labels + fresh.labels, known.digests + fresh.digests, metadata)


def learned_from(every: Samples, fresh: LabelledSet, make: Callable[[], Estimator]) -> CrossValidation:
    """An estimator fitted on the reference set alone, tried on the holdout's networks, which follow it."""
    before, after = np.split(np.arange(len(every)), [-len(fresh.names)])
    return scored(fresh, fit_and_judge(every, partial(fitted, make=make), Fold(0, 0, before, after)))


def by_cell(ours: CrossValidation, fresh: LabelledSet) -> str:
    """Our figures in every stratum; trojaned ones are ranked against all clean networks."""
    columns = {"networks": "", "": "", "n": "", "trojaned": "", "CE": ".3f", "AUC": ".3f"}
    rows = [
        (
            *(s.kind, s.value, s.models, s.trojaned),
            *(Margin(s.cross_entropy, s.cross_entropy_ci95), Estimate(s.roc_auc, *s.roc_auc_interval)),
        )
        for s in stratify(ours, fresh.rows)
    ]
    return Table.of(columns, rows).markdown()


def found(suspects: list[Suspect | None], probabilities: list[float], fresh: LabelledSet) -> str:
    """How often the suspected target class is the true one."""
    counts = [digest.num_classes for digest in fresh.digests]
    cells = [
        trojan_cell(row, trojaned=bool(y)).attacked for row, y in zip(fresh.rows, fresh.labels, strict=True)
    ]
    return recovery_markdown(recoveries(suspects, fresh.targets, counts, cells, probabilities))


def each(ours: CrossValidation, suspects: list[Suspect | None], fresh: LabelledSet) -> str:
    """A row a network, the likeliest trojaned first."""
    columns = {"network": "", "architecture": "", "trojan": "", "p": ".3f", "cross-entropy": ".3f"}
    rows = []
    targets, p = fresh.targets, ours.probabilities[0]
    losses = elementwise_cross_entropy(ours.labels, p)
    for at in np.argsort(-p, kind="stable").tolist():
        cell = trojan_cell(fresh.rows[at], trojaned=bool(fresh.labels[at]))
        trojan = "clean" if not fresh.labels[at] else f"{cell.trigger} x {cell.attacked}"
        named = [None if one is None else one.target for one in (suspects[at], targets[at])]
        architecture = fresh.digests[at].architecture
        rows.append((fresh.names[at], architecture, trojan, float(p[at]), float(losses[at]), *named))
    return Table.of({**columns, "suspected target": "", "true one": ""}, rows).markdown()


if __name__ == "__main__":
    raise SystemExit(run(main))
