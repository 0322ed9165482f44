"""`make demo`: the whole path in minutes. Trains a small round, learns from three quarters, scores the rest.

Every step is the program a user runs: `python -m weightfeat.zoo` makes the networks, `train_meta.py configure` learns
and `detect.py` scores one model a call, under the flags of TrojAI's Round 2.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from weightfeat.errors import WeightfeatError
from weightfeat.evaluation import intervals, metrics
from weightfeat.rounds import ModelEntry, labelled_entries, read_round

ROOT = Path(__file__).resolve().parent.parent
PAIRS = {"shufflenet_v2_x1_0": 6, "resnet18": 2}
"""Pairs of one clean and one trojaned network of each architecture; the last of each are held out."""


@dataclass(frozen=True)
class Scored:
    """A held-out network: what it is, and what the detector said of it."""

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
    parser.add_argument("--seed", type=int, default=1)
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
    print(f"\n{time.monotonic() - start:.0f} s in all. Models, features and results are in {options.out}.")
    return 0


def _run(out: Path, seed: int) -> None:
    total = 2 * sum(PAIRS.values())
    _say(f"1. Training {total} real networks ({', '.join(PAIRS)}) on drawn road signs, half of them trojaned")
    zoo = out / "round"
    for architecture, pairs in PAIRS.items():
        _python(
            *("-m", "weightfeat.zoo", "--preset", "tiny", "--count", str(2 * pairs), "--seed", str(seed)),
            *("--architectures", architecture, "--out", str(zoo), "--jobs", "2"),
        )
    entries = [entry for entry, _, _ in labelled_entries(read_round(zoo))]
    learning, held_out = _split(entries)
    _say(f"2. Learning from {len(learning)} of them")
    learned = out / "learned_parameters"
    _python(
        *("train_meta.py", "configure", "--round", str(_subset(zoo, learning, out / "learning"))),
        *("--store", str(out / "digests"), "--learned-parameters", str(learned)),
    )
    _say(f"3. Scoring the other {len(held_out)}, one `python detect.py` a model")
    _report([_score(entry, learned, out / "results") for entry in held_out])


def _split(entries: list[ModelEntry]) -> tuple[list[ModelEntry], list[ModelEntry]]:
    """The last clean and the last trojaned network of each architecture are held out; nothing else is looked at."""
    last: dict[tuple[str, int | None], str] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        last[entry.metadata["model_architecture"], entry.label] = entry.name
    held_out = set(last.values())
    return [e for e in entries if e.name not in held_out], [e for e in entries if e.name in held_out]


def _subset(zoo: Path, entries: list[ModelEntry], folder: Path) -> Path:
    """A round of some of another's models: links to their folders, each with its own ground_truth.csv."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = (zoo / "METADATA.csv").read_text().splitlines(keepends=True)
    names = {entry.name for entry in entries}
    (folder / "METADATA.csv").write_text(
        "".join([lines[0], *(line for line in lines[1:] if line.split(",", 1)[0] in names)])
    )
    for name in names:
        (folder / name).symlink_to((zoo / name).resolve(), target_is_directory=True)
    return folder


def _score(entry: ModelEntry, learned: Path, results: Path) -> Scored:
    assert entry.path is not None
    result = results / f"{entry.name}.txt"
    scratch = results / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    _python(
        *("detect.py", "--model_filepath", str(entry.path), "--result_filepath", str(result)),
        *("--scratch_dirpath", str(scratch), "--examples_dirpath", str(entry.path.parent / "example_data")),
        *("--learned_parameters_dirpath", str(learned)),
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
    print(f"\n{'network':14} {'architecture':18} {'truth':9} {'P(trojaned)':>11} {'seconds':>8}")
    for one in scored:
        label = "trojaned" if one.truth else "clean"
        print(f"{one.name:14} {one.architecture:18} {label:9} {one.probability:11.3f} {one.seconds:8.1f}")
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
