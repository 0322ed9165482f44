"""One network's times, in a process of its own: prints them as JSON.

    python benchmarks/speed_network.py resnet18 model.pt --repeats 3 --device cpu [--rivals]

`spectra` is what the rivals compute as well: every layer's singular values.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from speed_floor import Rates, floor
from weightfeat import checkpoint, network
from weightfeat.container import run
from weightfeat.container.defaults import default
from weightfeat.digest import compute
from weightfeat.digest.channels import channels
from weightfeat.digest.distribution import distribution
from weightfeat.digest.head import head
from weightfeat.digest.latents import latents
from weightfeat.digest.layers import Feeding
from weightfeat.digest.linalg import gram, load_single_precision, singular_values
from weightfeat.digest.place import HOST
from weightfeat.digest.spectrum import spectrum
from weightfeat.digest.tensors import at_place
from weightfeat.digest.workers import workers
from weightfeat.judge import Judge
from weightfeat.network.types import Network
from weightfeat.scan import judged

Median = Callable[[Callable[[], object]], float]
SLOW = 20.0
"""Seconds after which a rival is timed once only."""


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
    median = partial(median_of, time.process_time if options.cpu else time.perf_counter, options.repeats)
    measured = ours(options.file, options.device, Rates(**options.rates), median)
    if options.rivals:
        measured |= rivals(options.architecture, options.file, median)
    print(json.dumps(measured))
    return 0


def ours(file: Path, device: str, rates: Rates, median: Median) -> dict[str, Any]:
    """The file's megabytes, medians in seconds of every step of a scan, and the floor."""
    found = network.build(checkpoint.read(file))
    digest = compute(found, key="0" * 64, device=device)
    judge = Judge.load(default("learned_parameters_dirpath"))
    judged(file, digest, judge, start=0.0)
    return {
        "megabytes": file.stat().st_size / 1e6,
        "read": median(lambda: checkpoint.read(file)),
        "build": median(lambda: network.build(checkpoint.read(file))),
        "spectra": median(lambda: spectra(found)),
        "digest": median(lambda: compute(found, key="0" * 64, device=device)),
        "scanned": median(lambda: compute(found, key="0" * 64, device=device, blocks=judge.reads)),
        "features": median(lambda: judge.row(digest)),
        "score": median(lambda: judged(file, digest, judge, start=0.0)),
        "floor": floor(found, file, rates),
        "parts": parts(found),
    }


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

    load_single_precision()
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


def rivals(architecture: str, file: Path, median: Median) -> dict[str, float]:
    """Medians in seconds of WeightWatcher's default analysis and of numpy's SVD of every layer's matrix."""
    from weightfeat.zoo.vision import build_network

    found = network.build(checkpoint.read(file))
    module = build_network(architecture, found.num_classes).eval()
    module.load_state_dict(torch.load(file, weights_only=True))
    return {
        "weightwatcher": median(lambda: watch(module)),
        "svd": median(lambda: decompose(found)),
    }


def watch(module: torch.nn.Module) -> None:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import weightwatcher

        logging.getLogger("weightwatcher").setLevel(logging.ERROR)
        weightwatcher.WeightWatcher(model=module).analyze()


def decompose(found: Network) -> None:
    for layer in found.layers:
        np.linalg.svd(at_place(layer, HOST).matrix, compute_uv=False)


def median_of(clock: Callable[[], float], repeats: int, work: Callable[[], object]) -> float:
    """Median of `repeats` runs, or the first where it is slow."""
    seconds: list[float] = []
    while len(seconds) < repeats and (not seconds or seconds[0] < SLOW):
        start = clock()
        work()
        seconds.append(clock() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    raise SystemExit(run(main))
