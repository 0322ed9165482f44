"""Does the cost grow with the number of models alone, and does a killed run lose nothing?

    python benchmarks/many_models.py line [--counts 50 100 200] [--architecture squeezenet1_1]
    python benchmarks/many_models.py kill [--count 40] [--kills 10] [--seed 0]

`line` digests that many networks in one process, fits a line through the times, and repeats the largest count in two.
`kill` digests with two workers, kills the whole run or one worker with SIGKILL at random moments, starts it again,
and compares the finished store with an unbroken run's, byte for byte; it exits with 1 where they differ.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import psutil
import torch

from weightfeat.commands.arguments import positive
from weightfeat.commands.program import run
from weightfeat.digest import DigestStore
from weightfeat.execution.vision import build_network
from weightfeat.rounds.extraction import digest_models
from weightfeat.zoo.architectures import architecture

RUN = """
import sys
from pathlib import Path
from weightfeat.digest import DigestStore
from weightfeat.rounds.extraction import digest_models
paths = sorted(Path(sys.argv[1]).glob("*.pt"))
report = digest_models(paths, DigestStore(Path(sys.argv[2])), jobs=2, device="cpu", progress=False)
sys.exit(1 if report.failures else 0)
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--architecture", default="squeezenet1_1")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("line")
    command.add_argument("--counts", type=positive, nargs="+", default=[50, 100, 200])
    command.set_defaults(action=line)
    command = commands.add_parser("kill")
    command.add_argument("--count", type=positive, default=40)
    command.add_argument("--kills", type=int, default=10)
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(action=kill)
    options = parser.parse_args()
    options.architecture = architecture(options.architecture).name
    with tempfile.TemporaryDirectory() as folder:
        return int(options.action(options, Path(folder)))


def line(options: argparse.Namespace, folder: Path) -> int:
    """Times of each count in one process, their distance from a line, and the gain of a second process."""
    models = make_models(folder, options.architecture, max(options.counts))
    digest_models(models[:2], DigestStore(folder / "warm"), jobs=1, device="cpu", progress=False)
    os.environ["OMP_NUM_THREADS"] = "1"  # one process against two, not two threads against two processes
    seconds = [timed(models[:count], folder / f"store{count}", jobs=1) for count in options.counts]
    slope, start = np.polyfit(options.counts, seconds, 1)
    for count, found in zip(options.counts, seconds, strict=True):
        print(
            f"{count} models, one process: {found:.1f} s, {found / (start + slope * count) - 1:+.1%} of the line"
        )
    together = timed(models, folder / "together", jobs=2)
    print(f"{len(models)} models, two processes: {together:.1f} s, {seconds[-1] / together:.2f}x")
    return 0


def timed(models: Sequence[Path], store: Path, jobs: int) -> float:
    begun = time.perf_counter()
    report = digest_models(models, DigestStore(store), jobs=jobs, device="cpu", progress=False)
    assert not report.failures
    return time.perf_counter() - begun


def kill(options: argparse.Namespace, folder: Path) -> int:
    """Kill and start again until `kills` runs were hit; 0 where the store ends as an unbroken run's."""
    models = folder / "models"
    models.mkdir()
    make_models(models, options.architecture, options.count)
    whole, broken = folder / "whole", folder / "broken"
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", RUN, str(models), str(whole)], check=True)
    seconds = time.perf_counter() - begun
    chance = random.Random(options.seed)
    for number in range(options.kills):
        stored = sorted(broken.glob("*.npz"))
        for path in chance.sample(stored, len(stored) * 2 // 3):
            path.unlink()  # else the last runs would find nothing left to do
        kind = ("run", "worker")[number % 2]
        hit(models, broken, kind, chance.uniform(0.2, 0.8) * seconds)
        print(
            f"kill {number + 1} ({kind}): {len(list(broken.glob('*.npz')))} of {options.count} stored",
            flush=True,
        )
    subprocess.run([sys.executable, "-c", RUN, str(models), str(broken)], check=True)
    same = contents(whole) == contents(broken)
    print(f"{options.kills} kills: the stores {'are equal' if same else 'DIFFER'}")
    return 0 if same else 1


def hit(models: Path, store: Path, kind: str, after: float) -> None:
    """Start a run; after so many seconds SIGKILL it with all its workers, or one worker, whose run then goes on."""
    run = subprocess.Popen([sys.executable, "-c", RUN, str(models), str(store)], start_new_session=True)
    try:
        run.wait(after)
        return
    except subprocess.TimeoutExpired:
        workers = children(run.pid)
    if kind == "worker" and workers:
        os.kill(workers[-1], signal.SIGKILL)
        run.wait()
    else:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def children(pid: int) -> list[int]:
    """Process ids of the workers a run has started."""
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.glob("*.npz"))}


def make_models(folder: Path, name: str, count: int) -> list[Path]:
    """Files of one architecture, each with weights of its own."""
    torch.manual_seed(0)
    state = build_network(name, 10).state_dict()
    paths = [folder / f"{number:05}.pt" for number in range(count)]
    for number, path in enumerate(paths):
        torch.save({name: value * (1 + number / 1000) for name, value in state.items()}, path)
    return paths


if __name__ == "__main__":
    raise SystemExit(run(main))
