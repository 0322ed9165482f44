"""What a network of the zoo costs: images a second by architecture, and the seconds that a preset's plan then takes.

    python benchmarks/zoo_seconds.py [ARCHITECTURE ...] [--preset cpu] [--jobs 2] [--output benchmarks/zoo_seconds.md]

Each architecture is trained for a few seconds by `jobs` processes at once, one thread each, as `make zoo` does; drawing
the images is included. A try is the whole training of a network, on one of the processes, at the mean of the preset's
class counts; of `round2`, which goes on until it stalls, the table shows an epoch instead.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # processes that wait actively slow each other down

import torch

from weightfeat.commands.arguments import positive
from weightfeat.commands.program import run
from weightfeat.digest.processes import ending_with_this
from weightfeat.evaluation.tables import Cell, Table
from weightfeat.files import write_atomically
from weightfeat.zoo.allocator import keep_freed_memory
from weightfeat.zoo.architectures import NAMES, architecture
from weightfeat.zoo.design import network_spec, select_ids
from weightfeat.zoo.presets import preset
from weightfeat.zoo.train import Trainer

SEED = 2020
WARM_UP = 2  # steps


@dataclass(frozen=True)
class Rate:
    """Training images a second in one process, and the share of its time that drawing them takes."""

    images: float
    drawing: float


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architectures", nargs="*", default=NAMES, metavar="ARCHITECTURE")
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--jobs", type=positive, default=2)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    names = [architecture(name).name for name in options.architectures]
    what = "an epoch" if preset(options.preset).stop == "patience" else "a try"
    about = (
        f"{options.jobs} processes of one thread, torch {torch.__version__}, {platform.machine()}, "
        f"preset {options.preset}\n\n"
    )
    columns = {"architecture": "", "images a second, a process": ".3g", "drawing": ".0%"}
    columns |= {f"images of {what}": ".0f", "seconds": ".0f", "an hour": ".1f"}
    table = Table.of(columns, ())
    print(about + table.markdown(), end="", flush=True)
    with ProcessPoolExecutor(
        options.jobs, mp_context=multiprocessing.get_context("spawn"), **ending_with_this()
    ) as pool:
        for name in names:
            work = [(name, options.preset, options.seconds)] * options.jobs
            rates = list(pool.map(measure, *zip(*work, strict=True)))
            table = Table.of(columns, (*table.rows, _row(name, options.preset, rates)))
            print(table.markdown().splitlines()[-1], flush=True)
    if options.output is not None:
        write_atomically(options.output, about + table.markdown())
    return 0


def measure(name: str, preset_name: str, seconds: float) -> Rate:
    """Train one architecture's first network of the design for some seconds."""
    torch.set_num_threads(1)
    keep_freed_memory()
    trainer = Trainer(network_spec(preset(preset_name), SEED, select_ids(1, (name,))[0]), torch.device("cpu"))
    trainer.network.train()
    for _ in range(WARM_UP):
        trainer._step()
    step, batch = _mean_seconds(trainer._step, seconds), _mean_seconds(trainer._batch, seconds / 4)
    return Rate(trainer.batch / step, batch / step)


def _mean_seconds(work: Callable[[], Any], seconds: float) -> float:
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        work()
        count += 1
    return spent / count


def _row(name: str, preset_name: str, rates: list[Rate]) -> tuple[Cell, ...]:
    images, drawing = (statistics.median(getattr(r, field) for r in rates) for field in ("images", "drawing"))
    chosen, described = preset(preset_name), architecture(name)
    counts = [count for level in range(len(chosen.class_levels)) for count in chosen.class_counts(level)]
    planned = statistics.mean(chosen.images(described, count) for count in counts)
    spent = planned / images
    return (name, images, drawing, planned, spent, 3600 * len(rates) / spent)


if __name__ == "__main__":
    raise SystemExit(run(main))
