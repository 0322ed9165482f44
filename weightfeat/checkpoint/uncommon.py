"""Tensors stored otherwise than as numbers side by side: sparse ones and quantised ones, as the values they stand for.

Source: torch/_utils.py (`_rebuild_sparse_tensor`, `_rebuild_qtensor`) and the layouts of torch.sparse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.faults import Unreadable
from weightfeat.checkpoint.nodes import Call, call_path, describe, function_path
from weightfeat.checkpoint.tensors import MAX_DIMENSIONS, is_count

SPARSE_MAKERS = frozenset({"torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_sparse_csr_tensor"})
QUANTISED_MAKER = "torch._utils._rebuild_qtensor"

Numbers = NDArray[Any]
Part = Callable[[object], Numbers]
"""Reads one of the plain tensors that such a tensor is made of; raises Unreadable."""
_COMPRESSED = {"sparse_csr": 0, "sparse_bsr": 0, "sparse_csc": 1, "sparse_bsc": 1}
_SLACK = 1 << 20
_MOST_TIMES = 48
"""How many times their own bytes all sparse tensors of a file may have once they are dense: four indices of eight bytes
and a value of four stand for four bytes, so one weight in four hundred may be kept."""


@dataclass(eq=False)
class Allowance:
    """Bounds what is made of small files: parts are counted once, however many tensors share them."""

    made: int = 0
    parts: dict[int, Numbers] = field(default_factory=dict)

    def spend(self, size: int, parts: Sequence[Numbers]) -> None:
        """Take `size` bytes to be made of these parts; raises Unreadable past what they allow."""
        self.parts |= {id(part): part for part in parts}
        self.made += size
        if self.made > _SLACK + _MOST_TIMES * sum(part.nbytes for part in self.parts.values()):
            raise Unreadable("it and others like it are sparse, and far too large once dense")


def sparse(args: tuple[object, ...], part: Part, allowance: Allowance) -> Numbers:
    """A sparse tensor of any of torch's five layouts as a dense array; raises Unreadable."""
    layout_node, data = args if len(args) == 2 else (None, None)
    layout = _layout(layout_node)
    if not isinstance(data, tuple):
        raise Unreadable("it is sparse, of no layout that torch writes")
    if layout == "sparse_coo" and len(data) in (3, 4):
        indices, values, shape = part(data[0]), part(data[1]), _shape(data[2])
        allowance.spend(prod(shape) * values.itemsize, (indices, values))
        return _from_coordinates(indices, values, shape)
    if layout in _COMPRESSED and len(data) == 4:
        compressed, plain, values = (part(node) for node in data[:3])
        shape = _shape(data[3])
        allowance.spend(prod(shape) * values.itemsize, (compressed, plain, values))
        return _from_compressed(compressed, plain, values, shape, axis=_COMPRESSED[layout])
    raise Unreadable(f"its layout is {describe(layout)}")


def quantised(codes: Numbers, parameters: object, part: Part) -> NDArray[np.float32]:
    """The numbers that a quantised tensor's codes stand for: (code - zero point) * scale, for all of it or by channel.

    `parameters` are torch's: (scheme, scale, zero point), or (scheme, scales, zero points, axis).
    """
    if not isinstance(parameters, tuple) or len(parameters) < 3:
        raise Unreadable("it is quantised in no way that torch writes")
    scheme = function_path(parameters[0]).removeprefix("torch.")
    _, scale, zero, *rest = parameters
    if scheme == "per_tensor_affine" and isinstance(scale, float) and isinstance(zero, int) and not rest:
        return ((codes.astype(np.float32) - np.float32(zero)) * np.float32(scale)).astype(np.float32)
    if scheme.startswith("per_channel_affine") and len(rest) == 1:
        axis, scales, zeros = rest[0], part(scale), part(zero)
        if isinstance(axis, int) and 0 <= axis < codes.ndim and scales.shape == zeros.shape:
            along = [-1 if dimension == axis else 1 for dimension in range(codes.ndim)]
            if scales.shape == codes.shape[axis : axis + 1]:
                shifted = codes.astype(np.float32) - zeros.reshape(along).astype(np.float32)
                return (shifted * scales.reshape(along).astype(np.float32)).astype(np.float32)
    raise Unreadable(f"it is quantised by {describe(scheme)}, which is not read")


def _layout(node: object) -> str:
    if (
        call_path(node) == "torch.serialization._get_layout"
        and isinstance(node, Call)
        and len(node.args) == 1
    ):
        node = node.args[0]
        return node.removeprefix("torch.") if isinstance(node, str) else ""
    return function_path(node).removeprefix("torch.")


def _shape(node: object) -> tuple[int, ...]:
    if call_path(node) == "torch.Size" and isinstance(node, Call) and len(node.args) == 1:
        node = node.args[0]
    if isinstance(node, tuple) and len(node) <= MAX_DIMENSIONS and all(is_count(size) for size in node):
        return tuple(int(size) for size in node)
    raise Unreadable("its size is not made of plain non-negative integers")


def _from_coordinates(indices: Numbers, values: Numbers, shape: tuple[int, ...]) -> Numbers:
    """Values at coordinates (dimensions, n), those of one place added up; the last dimensions may be dense."""
    count = len(indices) if indices.ndim == 2 else -1
    if (
        not 0 <= count <= len(shape)
        or indices.dtype.kind != "i"
        or values.shape != (indices.shape[1], *shape[count:])
    ):
        raise Unreadable("its indices and values do not fit its size")
    _refuse_outside(indices, np.array(shape[:count], np.int64).reshape(-1, 1))
    flat = np.zeros(indices.shape[1], np.int64)
    for axis in range(count):
        flat = flat * shape[axis] + indices[axis]
    dense = np.zeros((prod(shape[:count]), *shape[count:]), values.dtype)
    np.add.at(dense, flat, values)
    return dense.reshape(shape)


def _from_compressed(
    compressed: Numbers, plain: Numbers, values: Numbers, shape: tuple[int, ...], *, axis: int
) -> Numbers:
    """Values, or blocks of them, by row (`axis` 0) or by column (1)."""
    block = values.shape[1:]
    if len(shape) != 2 or block not in ((), values.shape[1:3]) or compressed.ndim != 1 or 0 in block:
        raise Unreadable("it is sparse with batches or dense parts, which is not read")
    tall, wide = block or (1, 1)
    rows, columns = shape[0] // tall, shape[1] // wide
    lines, across = (rows, columns) if axis == 0 else (columns, rows)
    steps = np.diff(compressed)
    if (
        (rows * tall, columns * wide) != shape
        or {compressed.dtype.kind, plain.dtype.kind} != {"i"}
        or len(compressed) != lines + 1
        or plain.shape != values.shape[:1]
        or compressed[0] != 0
        or compressed[-1] != len(plain)
        or steps.min(initial=0) < 0
    ):
        raise Unreadable("its indices and values do not fit its size")
    _refuse_outside(plain, across)
    line = np.repeat(np.arange(lines), steps)
    places = (line, plain) if axis == 0 else (plain, line)
    dense = np.zeros((rows, columns, tall, wide), values.dtype)
    np.add.at(dense, places, values.reshape(len(values), tall, wide))
    return dense.swapaxes(1, 2).reshape(shape)


def _refuse_outside(indices: Numbers, sizes: Any) -> None:
    if ((indices < 0) | (indices >= sizes)).any():
        raise Unreadable("its indices lie outside its size")
