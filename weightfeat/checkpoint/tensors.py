"""From bytes and a claimed geometry to a read-only array, every number checked exactly before it is used."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.faults import Unreadable

MAX_DIMENSIONS = 8
_LARGEST_EMPTY = 1 << 31

# torch's dtype names to what numpy can hold; bfloat16 stays raw bits (see StoredTensor).
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
}


def is_count(value: object) -> bool:
    """Whether a value is a plain non-negative int (a bool is not)."""
    return type(value) is int and value >= 0


def tensor_array(
    raw: memoryview,
    dtype: str,
    offset: object,
    shape: object,
    stride: object,
    *,
    big_endian: bool = False,
) -> NDArray[np.generic]:
    """An array of `shape` over `raw`, `offset` and `stride` counted in elements; copied only if big-endian.

    Raises Unreadable when the dtype is none of numpy's, or when the geometry is not made of plain ints,
    has more than 8 dimensions, reaches outside `raw`, or has more elements than `raw` (an expanded view).
    """
    if dtype not in DTYPES:
        raise Unreadable(f"its type {dtype} is not supported")
    stored = DTYPES[dtype].newbyteorder(">") if big_endian else DTYPES[dtype]
    if len(raw) % stored.itemsize:
        raise Unreadable(f"its storage of {len(raw)} bytes is no whole number of {dtype}")
    available = len(raw) // stored.itemsize
    start, sizes, steps = _checked(available, offset, shape, stride)
    if prod(sizes) == 0:
        empty = np.empty(sizes, DTYPES[dtype])
        empty.setflags(write=False)
        return empty
    flat = np.frombuffer(raw, stored, count=available - start, offset=start * stored.itemsize)
    view = _shaped(flat, sizes, steps)
    if big_endian:
        view = view.astype(DTYPES[dtype])
    view.setflags(write=False)
    return view


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _checked(
    available: int, offset: object, shape: object, stride: object
) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    # Tuples only: a list could have been changed after the call that we recorded.
    if not isinstance(shape, tuple) or not isinstance(stride, tuple) or not isinstance(offset, int):
        raise Unreadable("its geometry is not made of plain integers")
    if not is_count(offset) or not all(is_count(number) for number in (*shape, *stride)):
        raise Unreadable("its geometry is not made of plain non-negative integers")
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise Unreadable(f"it has {len(shape)} sizes and {len(stride)} strides (at most {MAX_DIMENSIONS})")
    count = prod(shape)
    if count == 0:
        if prod(max(size, 1) for size in shape) > _LARGEST_EMPTY:
            raise Unreadable("it is empty but of absurd shape")
        return 0, shape, stride
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if last >= available:
        raise Unreadable(f"it reaches element {last} of a storage of {available}")
    if count > available:
        raise Unreadable(f"it claims {count} elements of a storage of {available}")
    return offset, shape, stride


def _shaped(
    flat: NDArray[np.generic], shape: tuple[int, ...], stride: tuple[int, ...]
) -> NDArray[np.generic]:
    usual = contiguous_strides(shape)
    # The stride of an axis of length one is never used, and may be anything.
    if all(size == 1 or step == wanted for size, step, wanted in zip(shape, stride, usual, strict=True)):
        return flat[: prod(shape)].reshape(shape)
    item = flat.dtype.itemsize
    steps = [0 if size == 1 else step * item for size, step in zip(shape, stride, strict=True)]
    return np.lib.stride_tricks.as_strided(flat, shape, steps, writeable=False)
