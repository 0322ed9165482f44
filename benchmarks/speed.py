"""What a scan costs, step by step and architecture by architecture, beside other ways to take a network apart.

    pip install -c constraints.txt -e '.[bench,zoo]'
    python benchmarks/speed.py [ARCHITECTURE ...] [--repeats 3] [--cpu] [--output benchmarks/speed.md]

Each network is built with fresh weights, saved, and measured in a process of its own; then `detect.py` is run on it,
start-up included. WeightWatcher's default analysis and numpy's SVD see the same weights in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from speed_floor import Rates, measure
from weightfeat.commands.arguments import positive
from weightfeat.commands.program import run
from weightfeat.evaluation.tables import Cell, Table
from weightfeat.execution.vision import build_network
from weightfeat.files import write_atomically
from weightfeat.zoo.architectures import NAMES, architecture

ROOT = Path(__file__).resolve().parents[1]
CLASSES = 10
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
COLUMNS = {
    **{"network": "", "MB": ".0f", "read": ".3f", "spectra": ".3f", "digest": ".3f", "scanned": ".3f"},
    **{"features": ".3f", "score": ".3f", "detect.py": ".2f", "peak MB": ".0f", "over file": ".0f"},
    **{"floor": ".3f", "digest / floor": "", "WeightWatcher": ".2f", "WW / spectra": "", "WW / digest": ""},
    **{"WW / scanned": "", "SVD": ".2f", "SVD / digest": ""},
}
PARTS = ("products", "spectra", "quantiles", "channels", "head", "latents")


WATCH = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
wall, processor = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
print([os.waitstatus_to_exitcode(status), wall, processor, usage.ru_maxrss])
"""


def main() -> int:
    options = _parser().parse_args()
    names = [architecture(name).name for name in options.architectures]
    if options.cpu:
        os.environ.update(ONE_THREAD)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        clock = time.process_time if options.cpu else time.perf_counter
        with threadpool_limits(1) if options.cpu else nullcontext():
            rates = measure(_zeros(Path(folder) / "zeros"), clock)
        about = machine(rates, options)
        print(about, "\n\n" + speeds(found).markdown(), sep="", end="", flush=True)
        for name in names:
            found[name] = measured(name, Path(folder), rates, options)
            print(speeds(found).markdown().splitlines()[-1], flush=True)
            if options.output is not None:
                write_atomically(options.output, page(about, found), "table")
    print("\n" + shares(found).markdown(), end="")
    return 0


def measured(name: str, folder: Path, rates: Rates, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one architecture."""
    file = folder / "model.pt"
    torch.manual_seed(0)
    torch.save(build_network(name, CLASSES).state_dict(), file)
    command = [sys.executable, str(ROOT / "benchmarks/speed_network.py"), name, str(file)]
    command += [
        "--repeats",
        str(options.repeats),
        "--device",
        options.device,
        "--rates",
        json.dumps(asdict(rates)),
    ]
    command += [] if options.no_rivals else ["--rivals"]
    command += ["--cpu"] if options.cpu else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    runs = [detect(file, folder, options) for _ in range(options.repeats)]
    found["detect"] = statistics.median(seconds for seconds, _ in runs)
    found["peak"] = max(peak for _, peak in runs)
    return found


def detect(file: Path, folder: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Seconds and peak megabytes of one `detect.py` process, from its start to its end."""
    command = [
        sys.executable,
        str(ROOT / "detect.py"),
        "--model_filepath",
        str(file),
        "--device",
        options.device,
    ]
    command += ["--result_filepath", str(folder / "result.txt"), "--scratch_dirpath", str(folder)]
    # A small process starts it: a child's peak begins at its parent's size, and torch makes this one large.
    done = subprocess.run(
        [sys.executable, "-S", "-c", WATCH, *command], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    code, wall, processor, peak = json.loads(done.stdout.splitlines()[-1])
    if code != 0:
        raise SystemExit(f"detect.py failed: {' '.join(command)}")
    return processor if options.cpu else wall, peak / 1000


def machine(rates: Rates, options: argparse.Namespace) -> str:
    """What the figures were measured on."""
    model = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.processor(),
    )
    return (
        f"{date.today()}, {os.cpu_count()} cores of {model}, {platform.system()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, torch {torch.__version__} for the rivals; {rates.describe()}. Seconds of "
        f"{'processor time of one thread' if options.cpu else 'wall time'} are medians of {options.repeats} runs; load "
        f"average at the start {os.getloadavg()[0]:.1f}."
    )


def speeds(found: Mapping[str, dict[str, Any]]) -> Table:
    """A row an architecture, of the columns `COLUMNS`."""

    def ratios(m: dict[str, Any], rival: str, *steps: str) -> list[Cell]:
        return [m.get(rival), *(f"{m[rival] / m[step]:.1f}x" if rival in m else None for step in steps)]

    rows = [
        (
            *(name, m["megabytes"]),
            *(m[step] for step in ("read", "spectra", "digest", "scanned", "features", "score", "detect")),
            *(m["peak"], m["peak"] - m["megabytes"], m["floor"], f"{m['digest'] / m['floor']:.1f}x"),
            *ratios(m, "weightwatcher", "spectra", "digest", "scanned"),
            *ratios(m, "svd", "digest"),
        )
        for name, m in found.items()
    ]
    return Table.of(COLUMNS, rows)


def shares(found: Mapping[str, dict[str, Any]]) -> Table:
    """What of a digest's seconds its parts take, a row an architecture."""
    rows = []
    for name, m in found.items():
        total = sum(m["parts"].values())
        rows.append((name, total, *(m["parts"][part] / total for part in PARTS)))
    return Table.of({"network": "", "seconds": ".2f", **dict.fromkeys(PARTS, ".0%")}, rows)


def page(about: str, found: Mapping[str, dict[str, Any]]) -> str:
    """The committed table."""
    return "\n".join(
        [
            "# Speed\n",
            "`make bench` writes this page (`benchmarks/speed.py`). Seconds throughout.\n",
            about + "\n",
            "`read` maps and hashes the file; `spectra` is every layer's singular values, the part that WeightWatcher "
            "and SVD compute as well; `digest` is the whole digest, `scanned` the part of it that the shipped detector "
            "reads and `detect.py` makes; both are of networks after the first of their width that a process meets, "
            "which pays for random latents (so does `detect.py`, always); `score` includes the features. The floor "
            "is the file's bytes and the fewest operations of its singular values at the rates above "
            "(`benchmarks/speed_floor.py`). WeightWatcher 0.7.7 runs its default analysis; SVD is "
            "`numpy.linalg.svd(compute_uv=False)` of every layer. `over file` is `detect.py`'s peak memory "
            "beyond the file's size.\n",
            speeds(found).markdown(),
            "## Where a digest's time goes\n",
            "Processor seconds of one thread, the parts one after the other. `products` are the Gram matrices that the "
            "floor counts; `spectra` decomposes them, of the weights alone and scaled by batch norm, with their "
            "leading vectors; `quantiles` are exact, of the raw weights; `channels`, `head` and `latents` read "
            "every weight of their layers once more.\n",
            shares(found).markdown(),
        ]
    )


def _zeros(path: Path, megabytes: int = 256) -> Path:
    """A file to measure the read bandwidth on."""
    with path.open("wb") as stream:
        for _ in range(megabytes):
            stream.write(bytes(1 << 20))
    return path


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architectures", nargs="*", default=list(NAMES), help="default: Round 2's 23")
    parser.add_argument("--repeats", type=positive, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--cpu", action="store_true", help="one thread's processor time: for a machine others use"
    )
    parser.add_argument("--no-rivals", action="store_true", help="leave WeightWatcher and SVD out")
    parser.add_argument("--output", type=Path, help="write the page there")
    return parser


if __name__ == "__main__":
    raise SystemExit(run(main))
