"""The least a digest can cost on this machine: what must be read and multiplied, at the rates measured here."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.linalg import gram_dtype
from weightfeat.digest.place import HOST
from weightfeat.digest.tensors import at_place
from weightfeat.network.types import Network

_SIDE = 2048
_READ = 1 << 20


@dataclass(frozen=True)
class Rates:
    """Bytes a second of a file in the page cache; floating-point operations a second of a matrix product."""

    read: float
    single: float
    double: float

    def describe(self) -> str:
        return (
            f"{self.read / 1e9:.1f} GB/s read, {self.single / 1e9:.0f} and {self.double / 1e9:.0f} Gflop/s in "
            "products of single- and double-precision matrices"
        )


def measure(file: Path, clock: Callable[[], float]) -> Rates:
    """Rates of this machine with all of numpy's threads, by this clock; `file` is read once before it is timed."""
    read = _median(clock, lambda: _read(file))
    return Rates(file.stat().st_size / read, _product(np.float32, clock), _product(np.float64, clock))


def floor(network: Network, file: Path, rates: Rates) -> float:
    """Seconds: the file's bytes, and of every layer half of A A^T (it is symmetric) and a reduction to tridiagonal
    form, 4/3 k^3, without which no eigenvalues are had (Golub and Van Loan, section 8.3)."""
    seconds = file.stat().st_size / rates.read
    for layer in network.layers:
        groups, rows, columns = at_place(layer, HOST).matrix.shape
        side, length = min(rows, columns), max(rows, columns)
        rate = rates.double if gram_dtype(side, np) is np.float64 else rates.single
        seconds += groups * (side * side * length + 4 / 3 * side**3) / rate
    return seconds


def _read(file: Path) -> None:
    buffer = bytearray(_READ)
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


def _product(dtype: type, clock: Callable[[], float]) -> float:
    a: NDArray[Any] = np.random.default_rng(0).standard_normal((_SIDE, _SIDE)).astype(dtype)
    return 2 * _SIDE**3 / _median(clock, lambda: a @ a)


def _median(clock: Callable[[], float], work: Callable[[], object], repeats: int = 5) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        start = clock()
        work()
        seconds.append(clock() - start)
    return statistics.median(seconds)
