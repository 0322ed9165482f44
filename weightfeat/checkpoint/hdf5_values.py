"""A Keras variable's values, taken from the mapped file at the places its listing gives, all of which are checked.

No filter of the HDF5 library runs on a stranger's bytes: gzip and shuffle, the two that Keras's users have, are undone
here within bounds.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.faults import Abuse, Unreadable
from weightfeat.checkpoint.storages import StoredArray
from weightfeat.checkpoint.tensors import DTYPES, MAX_DIMENSIONS, contiguous, tensor_array

# Trained weights hardly compress; these leave room for biases of zeros and pruned kernels.
_EXPANSION = 16
_ALWAYS_EXPANDED = 64 << 20
_FILTERS: tuple[list[str], ...] = ([], ["shuffle"], ["gzip"], ["shuffle", "gzip"])


@dataclass(frozen=True)
class _Piece:
    """One chunk: its first element's place, its bytes in the file, and which filters were left out (a bit each)."""

    origin: tuple[int, ...]
    start: int
    size: int
    skipped: int


@dataclass
class ValueReader:
    """Reads variables of one mapped file, within budgets for the whole file."""

    data: memoryview
    stored: int = 0
    expanded: int = 0

    def read(self, place: Mapping[str, Any]) -> StoredArray:
        """The values at a place as `hdf5_listing` gives it; those in one stretch stay mapped.

        Raises
        ------
        Unreadable : too many dimensions, other filters, damaged or absent bytes.
        Abuse : the file's datasets share bytes, or claim to unpack to far more than the file.
        """
        dtype, shape = place["dtype"], tuple(place["shape"])
        if len(shape) > MAX_DIMENSIONS:
            raise Unreadable(f"it has {len(shape)} dimensions (at most {MAX_DIMENSIONS})")
        item = DTYPES[dtype].itemsize
        raw = (
            self._bytes(place["start"], prod(shape) * item)
            if "start" in place
            else self._assembled(place, shape, item)
        )
        array = tensor_array(raw, dtype, contiguous(shape), big_endian=place["big_endian"])
        return StoredArray(dtype, array)

    def _assembled(self, place: Mapping[str, Any], shape: tuple[int, ...], item: int) -> memoryview:
        grid, filters = tuple(place["grid"]), place["filters"]
        pieces = [_Piece(tuple(origin), *numbers) for origin, *numbers in place["pieces"]]
        if filters not in _FILTERS:
            raise Unreadable("it is packed by filters in an order that Keras does not write")
        if {piece.origin for piece in pieces} != _origins(shape, grid) or len(set(pieces)) != len(pieces):
            raise Unreadable("not all of its pieces were written, or some twice")
        self._expand(len(pieces) * prod(grid) * item)
        if filters and any(_may_be_plain(piece, shape, grid, prod(grid) * item) for piece in pieces):
            raise Abuse(
                "one of its pieces has the size it would have unpacked: two readers may see two arrays"
            )
        values = np.empty(shape, f"V{item}")
        for piece in pieces:
            raw = self._bytes(piece.start, piece.size)
            block = _unpacked(raw, filters, piece.skipped, item, prod(grid)).reshape(grid)
            held = values[tuple(slice(at, at + step) for at, step in zip(piece.origin, grid, strict=True))]
            held[...] = block[tuple(slice(size) for size in held.shape)]
        return values.reshape(-1).view(np.uint8).data

    def _bytes(self, start: int, size: int) -> memoryview:
        if start + size > len(self.data):
            raise Unreadable("its values lie past the end of the file")
        self.stored += size
        if self.stored > len(self.data):
            raise Abuse("datasets of the file share their bytes")
        return self.data[start : start + size]

    def _expand(self, size: int) -> None:
        self.expanded += size
        if self.expanded > _ALWAYS_EXPANDED + _EXPANSION * len(self.data):
            raise Abuse(f"its {len(self.data):,} bytes claim to unpack to {self.expanded:,}")


def _may_be_plain(piece: _Piece, shape: Sequence[int], grid: Sequence[int], unpacked: int) -> bool:
    """Whether a piece at an edge may be stored without the filters that are named: an option of HDF5 allows that, and
    its library does not tell whether it is set."""
    at_edge = any(at + step > size for at, step, size in zip(piece.origin, grid, shape, strict=True))
    return at_edge and piece.size == unpacked and piece.skipped == 0


def _origins(shape: Sequence[int], grid: Sequence[int]) -> set[tuple[int, ...]]:
    """Where the pieces of an array of `shape`, cut by `grid`, begin."""
    counts = [-(-size // step) for size, step in zip(shape, grid, strict=True)]
    return {
        tuple(int(n) * step for n, step in zip(place, grid, strict=True)) for place in np.ndindex(*counts)
    }


def _unpacked(
    raw: memoryview, filters: Sequence[str], skipped: int, item: int, count: int
) -> NDArray[np.void]:
    """One piece's elements, as opaque blocks of `item` bytes, whatever they stand for."""
    content: bytes | memoryview = raw
    for place, name in reversed(list(enumerate(filters))):
        if skipped >> place & 1:  # the writer leaves a filter out where it would not have saved anything
            continue
        content = _inflated(content, count * item) if name == "gzip" else _unshuffled(content, item)
    if len(content) != count * item:
        raise Unreadable("one of its pieces has another size than it should")
    return np.frombuffer(content, f"V{item}")


def _inflated(raw: bytes | memoryview, size: int) -> bytes:
    engine = zlib.decompressobj()
    try:
        content = engine.decompress(raw, size + 1)
    except zlib.error:
        raise Unreadable("one of its pieces is no gzip data") from None
    if engine.unused_data:
        raise Abuse("one of its pieces has bytes behind its gzip data")
    if len(content) != size or not engine.eof:
        raise Unreadable("one of its pieces unpacks to another size than it should")
    return content


def _unshuffled(raw: bytes | memoryview, item: int) -> bytes:
    if len(raw) % item:
        raise Unreadable("one of its pieces has another size than it should")
    return np.frombuffer(raw, np.uint8).reshape(item, -1).T.tobytes()
