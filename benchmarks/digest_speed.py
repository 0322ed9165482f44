"""Spectra and whole digest against WeightWatcher's default analysis and float64 SVD, in turn on the same network.

    pip install -c constraints.txt -e '.[bench]'
    python benchmarks/digest_speed.py [ARCHITECTURE ...] [--repeats 3]

`spectra` is what the others compute as well: every layer's singular values. Ratios are taken pair by pair,
so that a machine whose speed drifts still gives a fair figure.
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
from weightfeat.digest import linalg
from weightfeat.digest.spectrum import LEADING, QUANTILES
from weightfeat.digest.tensors import on_device
from weightfeat.digest.workers import workers
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
    print("| network | spectra | digest | WeightWatcher | SVD | WW / spectra | WW / digest | errors |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.architectures:
        print(_line(name, options.repeats), flush=True)


def _line(name: str, repeats: int) -> str:
    torch.manual_seed(0)
    module = build_network(name, 10).eval()
    network = _network(module)
    work = (
        lambda: _spectra(network),
        lambda: digest_room.compute(network, key="0" * 64),
        lambda: _weightwatcher(module),
        lambda: _svd(network),
    )
    timed = [[_seconds(one) for one in work] for _ in range(repeats)]
    seconds = [statistics.median(column) for column in zip(*timed, strict=True)]
    ratios = [statistics.median(row[2] / row[column] for row in timed) for column in (0, 1)]
    leading, quantile = _errors(network)
    cells = [name, *(f"{s:.2f} s" for s in seconds), *(f"{r:.1f}x" for r in ratios)]
    errors = f"leading {leading:.0e} relative, quantiles {quantile:.0e} of the largest"
    return f"| {' | '.join([*cells, errors])} |"


def _spectra(network: Network) -> None:
    """Every layer's singular values as the digest computes them."""
    matrices = [on_device(layer, torch.device("cpu")).matrix for layer in network.layers]
    with workers(torch.device("cpu")) as pool:
        list(pool.map(lambda matrix: linalg.singular_values(linalg.gram(matrix)), matrices))


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
