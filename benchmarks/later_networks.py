"""Learned from the networks known at one revision, tried on those that came later: no choice can have seen these.

    python benchmarks/later_networks.py REVISION [--digests reference]

Metaparameters are those of the revision, too.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pandas as pd

from weightfeat import configure
from weightfeat.classmodel import targets_of
from weightfeat.errors import BadRound, WeightfeatError
from weightfeat.evaluation.intervals import bootstrap
from weightfeat.labelled import LabelledSet, from_digests
from weightfeat.metaparameters import Metaparameters, load

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """0 with the figures printed; 2 with one line where there is nothing to learn from or to try."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("revision", help="git revision at which the known networks were committed")
    parser.add_argument("--digests", type=Path, default=ROOT / "reference")
    options = parser.parse_args()
    try:
        labelled = from_digests(options.digests)
        known = pd.read_csv(io.StringIO(at(options.revision, options.digests / "METADATA.csv")))["model_name"]
        print(tried(labelled, set(known), metaparameters_at(options.revision)), end="")
    except WeightfeatError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def at(revision: str, path: Path) -> str:
    """A committed file's text at a revision. Raises BadRound where git has none."""
    asked = ["git", "-C", str(path.parent), "show", f"{revision}:./{path.name}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadRound(
            done.stderr.strip().splitlines()[0],
            where=revision,
            expected=f"a revision that holds {path.name}",
            remedy=f"see git log -- {path}",
        )
    return done.stdout


def metaparameters_at(revision: str) -> Metaparameters:
    """What metaparameters.json said, held against the schema of today."""
    with tempfile.TemporaryDirectory() as folder:
        then = Path(folder) / "metaparameters.json"
        then.write_text(at(revision, ROOT / "metaparameters.json"))
        return load(then, ROOT / "metaparameters_schema.json")


def tried(labelled: LabelledSet, known: set[str], params: Metaparameters) -> str:
    """Markdown: figures over the later networks, and each of them. Raises BadRound where they lack a label."""
    here = np.array([name in known for name in labelled.names])
    before, later = np.flatnonzero(here).tolist(), np.flatnonzero(~here).tolist()
    labels = np.array(labelled.labels)
    if len(set(labels[later])) < 2:
        raise BadRound(
            f"{len(later)} networks came later, not of both labels",
            where="METADATA.csv",
            expected="clean and trojaned networks that the revision does not hold",
            remedy="name an earlier revision",
        )
    table = configure.feature_table(labelled, params.blocks)
    architectures, families = np.array(labelled.architectures), np.array(labelled.families)
    detector = configure.estimators(labelled)(params)
    detector.fit(
        table.iloc[before],
        labels[before],
        architecture=architectures[before].tolist(),
        family=families[before].tolist(),
        groups=np.array(labelled.groups)[before].tolist(),
    )
    p = detector.predict_proba(
        table.iloc[later], architecture=architectures[later].tolist(), family=families[later].tolist()
    )[:, 1]
    ce, auc = (bootstrap(labels[later], p, what) for what in ("cross_entropy", "roc_auc"))
    lines = [
        f"Learned from {len(before)} networks, tried on {len(later)} later ones, {labels[later].sum()} trojaned: "
        f"CE {ce.value:.3f} [{ce.low:.3f}, {ce.high:.3f}], AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}] "
        "(95 % by bootstrap over the later networks).",
        "",
        "| network | architecture | sources | p |",
        "|---|---|---|---|",
    ]
    targets = targets_of(labelled)
    for place in np.argsort(-p):
        index = later[place]
        target = targets[index]
        sources = "clean" if target is None else str(len(target.sources) or "all")
        lines.append(f"| {labelled.names[index]} | {architectures[index]} | {sources} | {p[place]:.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
