"""From bytes and a claimed geometry to a read-only array, every number checked exactly before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.faults import Unreadable
from weightfeat.checkpoint.float8 import FLOAT8

MAX_DIMENSIONS = 8
_LARGEST_EMPTY = 1 << 31

# torch's dtype names to what numpy can hold; bfloat16 and the float8 stay raw bits (see StoredTensor).
DTYPES: dict[str, np.dtype[np.generic]] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint64": np.dtype("<u8"),
    "uint32": np.dtype("<u4"),
    "uint16": np.dtype("<u2"),
    "uint8": np.dtype("u1"),
    "bool": np.dtype("?"),
    "complex64": np.dtype("<c8"),
    "complex128": np.dtype("<c16"),
    **{name: np.dtype("u1") for name in FLOAT8},
}


def is_count(value: object) -> bool:
    """Whether a value is a plain non-negative int (a bool is not)."""
    return type(value) is int and value >= 0


@dataclass(frozen=True)
class Geometry:
    """Where a tensor lies in its storage, in elements; all plain non-negative ints."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def count(self) -> int:
        return prod(self.shape)


def check_geometry(offset: object, shape: object, stride: object) -> Geometry:
    """A claimed geometry as numbers; raises Unreadable unless made of plain ints, at most 8 dimensions of them."""
    # Tuples only: a list could have been changed after the call that we recorded.
    if not isinstance(shape, tuple) or not isinstance(stride, tuple) or not isinstance(offset, int):
        raise Unreadable("its geometry is not made of plain integers")
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise Unreadable(f"it has {len(shape)} sizes and {len(stride)} strides (at most {MAX_DIMENSIONS})")
    if not is_count(offset) or not all(is_count(number) for number in (*shape, *stride)):
        raise Unreadable("its geometry is not made of plain non-negative integers")
    return Geometry(offset, shape, stride)


def contiguous(shape: tuple[int, ...]) -> Geometry:
    """A whole storage in row-major order."""
    return Geometry(0, shape, tuple(prod(shape[axis + 1 :]) for axis in range(len(shape))))


def tensor_array(
    raw: memoryview, dtype: str, geometry: Geometry, *, big_endian: bool = False
) -> NDArray[np.generic]:
    """A read-only array over `raw`; copied only if big-endian.

    Raises Unreadable when the dtype is none of numpy's, or when the geometry reaches outside `raw` or
    has more elements than `raw` (an expanded view).
    """
    if dtype not in DTYPES:
        raise Unreadable(f"its type {dtype} is not supported")
    stored = DTYPES[dtype].newbyteorder(">") if big_endian else DTYPES[dtype]
    if len(raw) % stored.itemsize:
        raise Unreadable(f"its storage of {len(raw)} bytes is no whole number of {dtype}")
    _check_extent(geometry, len(raw) // stored.itemsize)
    if geometry.count == 0:
        view = np.empty(geometry.shape, DTYPES[dtype])
    else:
        view = _shaped(np.frombuffer(raw, stored), geometry)
    if big_endian:
        view = view.astype(DTYPES[dtype])
    view.setflags(write=False)
    return view


def _check_extent(geometry: Geometry, available: int) -> None:
    if geometry.count == 0:
        if prod(max(size, 1) for size in geometry.shape) > _LARGEST_EMPTY:
            raise Unreadable("it is empty but of absurd shape")
        return
    reach = sum((size - 1) * step for size, step in zip(geometry.shape, geometry.stride, strict=True))
    if geometry.offset + reach >= available:
        raise Unreadable(f"it reaches element {geometry.offset + reach} of a storage of {available}")
    if geometry.count > available:
        raise Unreadable(f"it claims {geometry.count} elements of a storage of {available}")


def _shaped(storage: NDArray[np.generic], geometry: Geometry) -> NDArray[np.generic]:
    flat, shape = storage[geometry.offset :], geometry.shape
    # The stride of an axis of length one is never used, and may be anything.
    steps = [0 if size == 1 else step for size, step in zip(shape, geometry.stride, strict=True)]
    usual = [0 if size == 1 else step for size, step in zip(shape, contiguous(shape).stride, strict=True)]
    if steps == usual:
        return flat[: geometry.count].reshape(shape)
    strides = [step * storage.dtype.itemsize for step in steps]
    return np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False)
