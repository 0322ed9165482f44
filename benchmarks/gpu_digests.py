"""Are digests made on a GPU those a processor makes, and how many are made in an hour?

    python benchmarks/gpu_digests.py [ARCHITECTURE ...] [--device cuda] [--repeats 3] [--output gpu.md]

Every network has seeded weights and is read from its file, as a round's would be; torchvision is not needed.
Ends with 1 where a number differs by more than 1e-5 of its array's scale (1e-3 where it is kept in half precision).
`benchmarks/gpu.sh` runs this and the commands end to end.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from weightfeat.commands.arguments import positive
from weightfeat.commands.program import run
from weightfeat.digest import Digest, choose_place
from weightfeat.errors import BadCommandLine
from weightfeat.evaluation.tables import Cell, Table
from weightfeat.files import write_atomically
from weightfeat.network.table import CLASSES, Entry, entries
from weightfeat.rounds.extraction import digest_file

COUNT = 10  # classes
LIMITS = {"f2": 1e-3, "f4": 1e-5, "f8": 1e-5}
"""How far apart the arrays of a dtype may be, in parts of their own scale."""
COLUMNS = {
    **{"network": "", "MB": ".0f", "processor, s": ".2f", "device, s": ".2f", "times": ".1f"},
    **{"models an hour": ".0f", "largest difference": ".1e", "in": ""},
}


@dataclass(frozen=True)
class Difference:
    """The largest difference of two digests in parts of what is allowed there, its size, and `block/array`."""

    share: float
    size: float
    where: str


def main() -> int:
    options = _parser().parse_args()
    place = choose_place(options.device)  # refuses what is not there before any work
    known = {entry.architecture: entry for entry in reversed(entries()) if not entry.aux}
    names = options.architectures or sorted(known)
    if unknown := [name for name in names if name not in known]:
        raise BadCommandLine(
            "unknown architecture",
            where=unknown[0],
            expected=", ".join(sorted(known)),
            remedy="name one of these",
        )
    about = (
        f"{place.described()} beside {os.cpu_count()} cores of {platform.processor() or platform.machine()}, "
    )
    about += f"torch {torch.__version__}, numpy {np.__version__}"
    print(about, flush=True)
    rows: list[tuple[Cell, ...]] = []
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        digest_file(saved(known["squeezenet1_1"], Path(folder)), device=options.device)  # CUDA's own start
        for name in names:
            file = saved(known[name], Path(folder), seed=1)
            (ours, wall), (theirs, on_device) = (
                timed(file, d, options.repeats) for d in ("cpu", options.device)
            )
            apart = difference(ours, theirs)
            worst = max(worst, apart.share)
            size = file.stat().st_size / 1e6
            rows.append(
                (name, size, wall, on_device, wall / on_device, 3600 / on_device, apart.size, apart.where)
            )
            print(Table.of(COLUMNS, rows).markdown().splitlines()[-1], flush=True)
            file.unlink()
    table = Table.of(COLUMNS, rows).markdown()
    print(f"\n{table}\nworst: {worst:.2f} of what is allowed")
    if options.output is not None:
        write_atomically(options.output, f"{about}\n\n{table}", "table")
    return int(worst > 1)


def saved(entry: Entry, folder: Path, seed: int = 0) -> Path:
    """A file of this architecture with seeded weights: heavy in a few directions, norms as after training."""
    generator = np.random.Generator(np.random.PCG64([seed, *entry.architecture.encode()]))
    state = {}
    for name, shape in entry.tensors:
        sizes = tuple(COUNT if size == CLASSES else int(size) for size in shape)
        state[name] = torch.from_numpy(_values(generator, name, sizes))
    path = folder / f"{entry.architecture}-{seed}.pt"
    torch.save(state, path)
    return path


def _values(generator: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:
        low, high = (0.2, 3.0) if name.endswith("running_var") else (-0.4, 1.5)
        return generator.uniform(low, high, shape).astype(np.float32)
    rows, columns = shape[0], math.prod(shape[1:])
    left = generator.standard_normal((rows, 3), dtype=np.float32) * np.array([3, 2, 1], np.float32)
    values = generator.standard_normal((rows, columns), dtype=np.float32) / np.float32(columns**0.5)
    values += (
        left @ generator.standard_normal((3, columns), dtype=np.float32) / np.float32((rows * columns) ** 0.5)
    )
    return values.reshape(shape)


def timed(file: Path, device: str, repeats: int) -> tuple[Digest, float]:
    """The digest of a file, and the median of the seconds from its path to it."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        digest, _ = digest_file(file, device=device)
        seconds.append(time.perf_counter() - start)
    return digest, statistics.median(seconds)


def difference(first: Digest, second: Digest) -> Difference:
    """The largest, in parts of what is allowed; what is not floating, or not a number, must agree."""
    found = Difference(0.0, 0.0, "")
    for block, arrays in first.blocks.items():
        for name, array in arrays.items():
            size = _apart(array, second.blocks[block][name])
            share = size / LIMITS.get(array.dtype.str[1:], 1.0)
            if share > found.share:
                found = Difference(share, size, f"{block}/{name}")
    return found


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference in parts of the first array's largest number; infinite where they cannot be compared."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return math.inf
    if first.dtype.kind != "f":
        return 0.0 if np.array_equal(first, second) else math.inf
    if not np.array_equal(np.isnan(first), np.isnan(second)):
        return math.inf
    wide, other = first.astype(np.float64), second.astype(np.float64)
    scale = float(np.nanmax(np.abs(wide), initial=1e-12))
    return float(np.nanmax(np.abs(wide - other), initial=0.0)) / scale


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architectures", nargs="*", metavar="ARCHITECTURE", help="default: all 23")
    parser.add_argument("--device", default="cuda", help="`torch` runs a GPU's code on the processor")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the table there")
    return parser


if __name__ == "__main__":
    raise SystemExit(run(main))
