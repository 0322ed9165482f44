"""How many small files a second does a scan of a folder look at, and one process a file?

    python benchmarks/scan_rate.py [--files 1000] [--alone 10] [--jobs 2]

Makes a folder of that many small networks, each of another content, and times `weightfeat scan` on it as a process of
its own; then the same command on a few of the files, a process each. Seconds of the processors are given beside those
of the clock, for a machine that others use as well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from weightfeat.commands.arguments import positive
from weightfeat.commands.program import run
from weightfeat.evaluation.tables import Table

WIDTHS, CLASSES = (3, 16, 32, 64), 10


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and those of the processors, of all processes together."""

    clock: float
    processors: float


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=positive, default=1000)
    parser.add_argument("--alone", type=positive, default=10, help="files that get a process each")
    parser.add_argument("--jobs", type=positive, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        paths = make(Path(name), options.files)
        together = spent([["scan", name, "--jobs", str(options.jobs)]])
        alone = spent([["scan", str(path)] for path in paths[: options.alone]])
    print(report(options.files, together, min(options.alone, options.files), alone, options.jobs), end="")
    return 0


def make(folder: Path, count: int) -> list[Path]:
    """Files of small convolutional classifiers, their weights drawn from a seed each."""
    paths = [folder / f"network-{at:05}.safetensors" for at in range(count)]
    for seed, path in enumerate(paths):
        save_file(network(seed), path)
    return paths


def network(seed: int) -> dict[str, np.ndarray]:
    """A state of three convolutions and a head, about 100 kB."""
    rng = np.random.default_rng(seed)
    found = {}
    for at, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
        found[f"conv{at}.weight"] = rng.standard_normal((outputs, inputs, 3, 3), np.float32)
        found[f"conv{at}.bias"] = rng.standard_normal(outputs, np.float32)
    found["fc.weight"] = rng.standard_normal((CLASSES, WIDTHS[-1]), np.float32)
    found["fc.bias"] = rng.standard_normal(CLASSES, np.float32)
    return found


def spent(commands: Sequence[Sequence[str]]) -> Spent:
    """What it takes to run these commands of ours, one after the other."""
    before, start = _processors(), time.perf_counter()
    for command in commands:
        subprocess.run(
            [sys.executable, "-m", "weightfeat", *command, "--device", "cpu", "--fail-on", "never"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return Spent(time.perf_counter() - start, _processors() - before)


def _processors() -> float:
    times = os.times()
    return times.children_user + times.children_system


def report(files: int, together: Spent, few: int, alone: Spent, jobs: int) -> str:
    """A table of both ways."""
    columns = {"way": "", "files": "d", "s": ".1f", "files a second": ".2f", "processor s a file": ".3f"}
    rows = [
        (way, count, each.clock, count / each.clock, each.processors / count)
        for way, count, each in (
            (f"one scan, {jobs} processes", files, together),
            ("a process a file", few, alone),
        )
    ]
    return Table.of(columns, rows).markdown()


if __name__ == "__main__":
    sys.exit(run(main))
