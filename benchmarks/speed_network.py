"""One network's times, in a process of its own: prints them as JSON.

    python benchmarks/speed_network.py resnet18 model.pt --repeats 3 --device cpu [--rivals]

`spectra` is what the rivals compute as well: every layer's singular values.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from speed_floor import Rates, floor
from watching import watcher
from weightfeat import checkpoint, network
from weightfeat.commands.defaults import default
from weightfeat.commands.program import run
from weightfeat.detector import Detector
from weightfeat.detector.samples import Network as Digested
from weightfeat.digest import Digest, compute
from weightfeat.digest.channels import channels
from weightfeat.digest.distribution import distribution
from weightfeat.digest.head import head
from weightfeat.digest.latents import latents
from weightfeat.digest.layers import Feeding
from weightfeat.digest.linalg import gram, singular_values
from weightfeat.digest.place import HOST
from weightfeat.digest.spectrum import spectrum
from weightfeat.digest.tensors import at_place
from weightfeat.digest.workers import workers
from weightfeat.network.types import Network

Steps = dict[str, Callable[[], object]]
SLOW = 20.0
"""Seconds after which a step is timed once only."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architecture")
    parser.add_argument("file", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rates", type=json.loads, required=True, help="speed_floor.Rates as JSON")
    parser.add_argument("--rivals", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="processor time instead of wall time")
    options = parser.parse_args()
    clock = time.process_time if options.cpu else time.perf_counter
    found = network.build(checkpoint.read(options.file))
    steps = ours(options.file, found, options.device)
    steps |= rivals(options.architecture, options.file, found) if options.rivals else {}
    measured = medians(clock, options.repeats, steps) | {
        "megabytes": options.file.stat().st_size / 1e6,
        "floor": floor(found, options.file, Rates(**options.rates)),
        "parts": parts(found),
    }
    print(json.dumps(measured))
    return 0


def ours(file: Path, found: Network, device: str) -> Steps:
    """Every step of a scan."""
    digest = compute(found, key="0" * 64, device=device)
    detector = Detector.load(default("learned_parameters_dirpath"))
    detector.predict(digest)
    return {
        "read": lambda: checkpoint.read(file),
        "build": lambda: network.build(checkpoint.read(file)),
        "spectra": lambda: spectra(found),
        "digest": lambda: compute(found, key="0" * 64, device=device),
        "scanned": lambda: compute(found, key="0" * 64, device=device, blocks=detector.reads),
        "features": lambda: rows(digest, detector),
        "score": lambda: detector.predict(digest),
    }


def rows(digest: Digest, detector: Detector) -> object:
    """What a verdict is made from."""
    known = Digested(digest)
    return known.features(detector.params.blocks), known.class_rows


def parts(found: Network) -> dict[str, float]:
    """Processor seconds of what a digest consists of, one after the other on one thread."""
    tensors = [at_place(layer, HOST) for layer in found.layers]
    feeding = {feed.layer for feed in found.head_feeds}
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = work()
        seconds[name] = time.process_time() - start
        return result

    with threadpool_limits(1, user_api="blas"):
        grams = timed("products", lambda: [gram(layer.matrix) for layer in tensors])
        decomposed = timed("spectra", lambda: list(map(spectrum, tensors, grams)))
        timed("quantiles", lambda: list(map(distribution, tensors)))
        by_channel = timed("channels", lambda: list(map(channels, tensors)))
        fed = {i: Feeding(grams[i], by_channel[i], decomposed[i].left) for i in feeding}
        timed("head", lambda: head(found, fed, HOST))
        timed("latents", lambda: latents(found))
    return seconds


def spectra(found: Network) -> None:
    """Every layer's singular values, as the digest computes them on a CPU."""
    matrices = [at_place(layer, HOST).matrix for layer in found.layers]
    with workers(HOST) as pool:
        list(pool.map(lambda matrix: singular_values(gram(matrix)), matrices))


def rivals(architecture: str, file: Path, found: Network) -> Steps:
    """WeightWatcher's default analysis and numpy's SVD of every layer's matrix."""
    from weightfeat.execution.vision import build_network

    module = build_network(architecture, found.num_classes).eval()
    module.load_state_dict(torch.load(file, weights_only=True))
    return {"weightwatcher": watcher(module), "svd": lambda: decompose(found)}


def decompose(found: Network) -> None:
    for layer in found.layers:
        np.linalg.svd(at_place(layer, HOST).matrix, compute_uv=False)


def medians(clock: Callable[[], float], repeats: int, steps: Steps) -> dict[str, float]:
    """Median seconds of each step. The steps take turns, so that a machine that is slower for a while is so for all
    of them alike; one that took more than `SLOW` is not run again."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, work in steps.items():
            if not seconds[name] or seconds[name][0] < SLOW:
                start = clock()
                work()
                seconds[name].append(clock() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


if __name__ == "__main__":
    raise SystemExit(run(main))
