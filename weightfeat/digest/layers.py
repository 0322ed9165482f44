"""What every layer gives by itself, shared out over the workers.

The order of the work decides how long the last worker is waited for: see `compute`. Work that waits for other work is
queued behind it, so that whatever it waits for has begun.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from weightfeat.digest.channels import Channels, channels
from weightfeat.digest.distribution import Distribution, distribution
from weightfeat.digest.linalg import DOUBLE_SIDE, gram, gram_pieces
from weightfeat.digest.place import AnyArray
from weightfeat.digest.spectrum import Spectrum, spectrum
from weightfeat.digest.tensors import LayerTensors

DECOMPOSED = frozenset({"spectrum", "alignment"})
BLOCKS = DECOMPOSED | {"distribution", "channels"}
"""Blocks of the digest that every layer has a share of; `DECOMPOSED` need its singular values."""

Decomposed = tuple[Spectrum | None, AnyArray | None]


@dataclass(frozen=True, eq=False)
class Feeding:
    """What the block `head` asks of a layer that feeds the head: the Gram matrix of its rows, where they are no more
    than its columns, its channels, and its leading left directions, where it is decomposed."""

    gram: AnyArray | None
    channels: Channels
    left: AnyArray | None


class LayerWork:
    """The layers' shares of the blocks in `wanted`, in the making, and what `head` asks of those in `feeding`."""

    def __init__(
        self,
        tensors: Mapping[int, LayerTensors],
        feeding: Collection[int],
        wanted: Collection[str],
        pool: ThreadPoolExecutor,
    ) -> None:
        self._tensors, self._feeding, self._wanted, self._pool = tensors, feeding, wanted, pool
        self._decomposed: dict[int, Future[Decomposed]] = {}
        self._values: dict[int, Future[tuple[Distribution, Distribution]]] = {}
        self._channels: dict[int, Future[Channels]] = {}

    def begin(self, indices: Iterable[int]) -> None:
        """Hand the work on these layers to the pool, in this order."""
        for index in indices:
            layer, feeds = self._tensors[index], index in self._feeding
            decompose, keep = not DECOMPOSED.isdisjoint(self._wanted), feeds and _is_wide(layer)
            if decompose or keep:
                self._decomposed[index] = _begin(layer, decompose, keep, self._pool)
            if "distribution" in self._wanted:
                self._values[index] = self._pool.submit(distribution, layer)
            if feeds or "channels" in self._wanted:
                self._channels[index] = self._pool.submit(channels, layer)

    def spectrum(self, index: int) -> Spectrum:
        """Wait for a layer's singular values; KeyError where none were wanted."""
        found, _ = self._decomposed[index].result()
        if found is None:
            raise KeyError(index)
        return found

    def values(self, index: int) -> tuple[Distribution, Distribution]:
        """Wait for the distributions of a layer's weight and bias."""
        return self._values[index].result()

    def channels(self, index: int) -> Channels:
        """Wait for a layer's channels."""
        return self._channels[index].result()

    def feeding(self, index: int) -> Feeding:
        """Wait for all that `head` asks of a layer."""
        found, plain = self._decomposed[index].result() if index in self._decomposed else (None, None)
        return Feeding(plain, self.channels(index), None if found is None else found.left)


def is_large(layer: LayerTensors) -> bool:
    """Whether the Gram matrix alone is work for all workers."""
    rows, columns = layer.matrix.shape[-2:]
    return bool(min(rows, columns) > DOUBLE_SIDE)


def _is_wide(layer: LayerTensors) -> bool:
    """Whether the Gram matrix, which is of the smaller side, is that of the rows."""
    rows, columns = layer.matrix.shape[-2:]
    return bool(rows <= columns)


def _begin(layer: LayerTensors, decompose: bool, keep: bool, pool: ThreadPoolExecutor) -> Future[Decomposed]:
    """The Gram matrix, of a large layer in panels that all workers make, and its decomposition where asked for."""
    plain, pieces = gram_pieces(layer.matrix) if is_large(layer) else (None, [])
    panels = [pool.submit(piece) for piece in pieces]

    def finish() -> Decomposed:
        for panel in panels:
            panel.result()
        whole = gram(layer.matrix) if plain is None else plain
        return spectrum(layer, whole) if decompose else None, whole if keep else None

    return pool.submit(finish)
