"""Digest against WeightWatcher's default analysis and float64 SVD: seconds in turn on the same network, and errors.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/digest_speed.py [ARCHITECTURE ...] [--repeats 3]

Ratios are taken pair by pair within one run, so that a machine whose speed drifts still gives a fair figure.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from weightfeat import digest as digest_room
from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.digest.spectrum import LEADING, QUANTILES
from weightfeat.digest.tensors import on_device
from weightfeat.network import build
from weightfeat.network.types import Network
from weightfeat.zoo.vision import build_network


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("architectures", nargs="*", default=["resnet18"])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; seconds are medians of {options.repeats}"
    )
    print(
        f"{'network':20} {'digest':>8} {'WeightWatcher':>14} {'ratio':>7} {'float64 SVD':>12} {'ratio':>7}  errors"
    )
    for name in options.architectures:
        print(_line(name, options.repeats), flush=True)


def _line(name: str, repeats: int) -> str:
    torch.manual_seed(0)
    module = build_network(name, 10).eval()
    network = _network(module)
    timed = [
        (
            _seconds(lambda: digest_room.compute(network, key="0" * 64)),
            _seconds(lambda: _weightwatcher(module)),
            _seconds(lambda: _svd(network)),
        )
        for _ in range(repeats)
    ]
    ours, watcher, svd = (statistics.median(column) for column in zip(*timed, strict=True))
    against_watcher = statistics.median(w / o for o, w, _ in timed)
    against_svd = statistics.median(s / o for o, _, s in timed)
    leading, quantile = _errors(network)
    return (
        f"{name:20} {ours:8.2f} {watcher:14.2f} {against_watcher:6.1f}x {svd:12.2f} {against_svd:6.1f}x"
        f"  leading {leading:.1e} relative, quantiles {quantile:.1e} of the largest"
    )


def _network(module: torch.nn.Module) -> Network:
    tensors = tuple(
        StoredTensor(key, str(value.dtype).removeprefix("torch."), value.detach().numpy())
        for key, value in module.state_dict().items()
    )
    return build(Checkpoint(Path("model.pt"), "state_dict", "0" * 64, tensors))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _weightwatcher(module: torch.nn.Module) -> None:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import weightwatcher  # type: ignore[import-untyped]

        logging.getLogger("weightwatcher").setLevel(logging.ERROR)
        weightwatcher.WeightWatcher(model=module).analyze()


def _svd(network: Network) -> list[np.ndarray]:
    matrices = (on_device(layer, torch.device("cpu")).matrix for layer in network.layers)
    return [
        torch.linalg.svdvals(matrix.double()).flatten().sort(descending=True).values.numpy()
        for matrix in matrices
    ]


def _errors(network: Network) -> tuple[float, float]:
    """Largest relative error of a leading singular value, and of a quantile in units of the layer's largest."""
    block = digest_room.compute(network, key="0" * 64).blocks["spectrum"]
    leading = quantile = 0.0
    for row, exact in enumerate(_svd(network)):
        count = min(LEADING, len(exact))
        big = exact[:count] > 1e-6 * exact[0]
        error = np.abs(block["leading"][row, :count] - exact[:count]) / np.maximum(exact[:count], 1e-30)
        leading = max(leading, float(error[big].max()))
        grid = np.abs(block["grid"][row] - np.quantile(exact, QUANTILES)).max() / exact[0]
        quantile = max(quantile, float(grid))
    return leading, quantile


if __name__ == "__main__":
    main()
