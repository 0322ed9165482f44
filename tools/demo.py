"""`make demo`: trains a few fresh networks, half of them trojaned, and scores them with the shipped detector.

Every step is the program a user runs: `weightfeat zoo` makes networks that the detector in
`learned_parameters/` has never seen, and `detect.py` scores one model a call, under the flags of TrojAI's Round 2.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from weightfeat.errors import WeightfeatError
from weightfeat.evaluation import intervals, metrics
from weightfeat.evaluation.tables import Table
from weightfeat.rounds.disk import ModelEntry, labelled_entries, read_round

ROOT = Path(__file__).resolve().parent.parent
PRESET, ARCHITECTURE, PAIRS = "cpu", "shufflenet_v2_x1_0", 3
"""What the shipped detector learned from, at its cheapest: pairs of one clean and one trojaned network."""


@dataclass(frozen=True)
class Scored:
    """A fresh network: what it is, and what the detector said of it."""

    name: str
    architecture: str
    truth: int
    probability: float
    seconds: float


def main() -> int:
    """Run the demo; returns an exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "demo", help="working folder; a killed demo resumes there"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the networks; the reference set has 2020")
    options = parser.parse_args()
    start = time.monotonic()
    try:
        _run(options.out, options.seed)
    except subprocess.CalledProcessError as error:
        print(
            f"error: a step failed with exit code {error.returncode}; its message stands above",
            file=sys.stderr,
        )
        return 1
    except WeightfeatError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"\n{time.monotonic() - start:.0f} s in all. Models and results are in {options.out}.")
    return 0


def _run(out: Path, seed: int) -> None:
    _say(
        f"1. Training {2 * PAIRS} networks ({ARCHITECTURE}) on drawn road signs, half of them trojaned; seed {seed}: "
        "none is in the reference set"
    )
    zoo = out / "round"
    _python(
        *("-m", "weightfeat", "zoo", "--preset", PRESET, "--count", str(2 * PAIRS), "--seed", str(seed)),
        *("--architectures", ARCHITECTURE, "--out", str(zoo), "--jobs", "2"),
    )
    entries = [entry for entry, _, _ in labelled_entries(read_round(zoo))]
    _say(f"2. Scoring the {len(entries)} that passed their accuracy gates, one `python detect.py` a model")
    _report([_score(entry, out / "results") for entry in entries])


def _score(entry: ModelEntry, results: Path) -> Scored:
    assert entry.path is not None
    result = results / f"{entry.name}.txt"
    scratch = results / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    _python(
        *("detect.py", "--model_filepath", str(entry.path), "--result_filepath", str(result)),
        *("--scratch_dirpath", str(scratch), "--examples_dirpath", str(entry.path.parent / "example_data")),
        quiet=True,
    )
    return Scored(
        name=entry.name,
        architecture=entry.metadata["model_architecture"],
        truth=int(entry.label or 0),
        probability=float(result.read_text()),
        seconds=time.monotonic() - start,
    )


def _report(scored: list[Scored]) -> None:
    columns = {"network": "", "architecture": "", "truth": "", "P(trojaned)": ".3f", "seconds": ".1f"}
    rows = [
        (one.name, one.architecture, "trojaned" if one.truth else "clean", one.probability, one.seconds)
        for one in scored
    ]
    print("", *Table.of(columns, rows).terminal(), sep="\n")
    truth, probability = [one.truth for one in scored], [one.probability for one in scored]
    cross_entropy = metrics.cross_entropy(truth, probability)
    auc = intervals.bootstrap(truth, probability, "roc_auc")
    half = metrics.cross_entropy_interval(truth, probability)
    print(f"\ncross-entropy {cross_entropy:.3f} +- {half:.3f} (a coin: 0.693), ROC-AUC {auc.value:.3f}")
    print(
        f"95 % intervals: cross-entropy as TrojAI computes it, AUC [{auc.low:.2f}, {auc.high:.2f}] by bootstrap."
    )
    print(
        f"{len(scored)} networks prove nothing about accuracy: this shows that the path works, not how well."
    )


def _python(*arguments: str, quiet: bool = False) -> None:
    """One of our own programs, from the repository's root. Its log is shown, or on failure when `quiet`."""
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, check=False, stderr=subprocess.PIPE if quiet else None, text=True
    )
    if done.returncode:
        print(done.stderr or "", file=sys.stderr, end="")
        raise subprocess.CalledProcessError(done.returncode, command)


def _say(line: str) -> None:
    print(f"\n{line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
