"""What every layer gives by itself, shared out over the workers.

The order of the work decides how long the last worker is waited for: see `compute`. Work that waits for other work is
queued behind it, so that whatever it waits for has begun.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from weightfeat.digest.channels import Channels, channels
from weightfeat.digest.distribution import Distribution, distribution
from weightfeat.digest.linalg import DOUBLE_SIDE, gram, gram_pieces
from weightfeat.digest.place import Array
from weightfeat.digest.spectrum import Spectrum, spectrum
from weightfeat.digest.tensors import LayerTensors

Decomposed = tuple[Spectrum, Array | None]


@dataclass(frozen=True, eq=False)
class LayerSummary:
    """One layer's share of three blocks, and its Gram matrix where that was asked for."""

    spectrum: Spectrum
    values: tuple[Distribution, Distribution]
    channels: Channels
    gram: Array | None


class LayerWork:
    """The layers' summaries in the making. Gram matrices are kept of the layers in `gram_wanted`."""

    def __init__(
        self, tensors: Sequence[LayerTensors], gram_wanted: Collection[int], pool: ThreadPoolExecutor
    ) -> None:
        self._tensors, self._gram_wanted, self._pool = tensors, gram_wanted, pool
        self._decomposed: dict[int, Future[Decomposed]] = {}
        self._values: dict[int, Future[tuple[Distribution, Distribution]]] = {}
        self._channels: dict[int, Future[Channels]] = {}

    def begin(self, indices: Iterable[int]) -> None:
        """Hand the work on these layers to the pool, in this order."""
        for index in indices:
            layer, keep = self._tensors[index], index in self._gram_wanted
            begin = _begin_large if is_large(layer) else _begin
            self._decomposed[index] = begin(layer, keep, self._pool)
            self._values[index] = self._pool.submit(distribution, layer)
            self._channels[index] = self._pool.submit(channels, layer)

    def result(self, index: int) -> LayerSummary:
        """Wait for one layer that was begun."""
        found, gram_matrix = self._decomposed[index].result()
        values, by_channel = self._values[index].result(), self._channels[index].result()
        return LayerSummary(found, values, by_channel, gram_matrix)


def is_large(layer: LayerTensors) -> bool:
    """Whether the Gram matrix alone is work for all workers."""
    rows, columns = layer.matrix.shape[-2:]
    return bool(min(rows, columns) > DOUBLE_SIDE)


def _begin(layer: LayerTensors, keep: bool, pool: ThreadPoolExecutor) -> Future[Decomposed]:
    def decompose() -> Decomposed:
        plain = gram(layer.matrix)
        return spectrum(layer, plain), plain if keep else None

    return pool.submit(decompose)


def _begin_large(layer: LayerTensors, keep: bool, pool: ThreadPoolExecutor) -> Future[Decomposed]:
    """All workers make the Gram matrix's panels, then one decomposes it."""
    plain, pieces = gram_pieces(layer.matrix)
    panels = [pool.submit(piece) for piece in pieces]

    def decompose() -> Decomposed:
        for panel in panels:
            panel.result()
        return spectrum(layer, plain), plain if keep else None

    return pool.submit(decompose)
