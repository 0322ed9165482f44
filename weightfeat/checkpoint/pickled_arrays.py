"""numpy's arrays as pickles hold them, and torch's tensors of devices that are saved as such.

Sources: numpy's `array_reduce` (numpy/_core/src/multiarray/methods.c: `_reconstruct`, then a state of version, shape,
type, order and bytes), `numpy._core.numeric._frombuffer` of protocol 5, and torch/_tensor.py (`__reduce_ex__` of
tensors without storage: XLA, HPU and their like).
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.faults import Unreadable
from weightfeat.checkpoint.nodes import Call, call_path, describe, function_path
from weightfeat.checkpoint.tensors import MAX_DIMENSIONS, is_count

ARRAY_MAKERS = frozenset(
    {
        *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
        *("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"),
    }
)
FROM_ARRAY = frozenset(
    f"torch._utils._rebuild_{name}"
    for name in ("device_tensor_from_numpy", "xla_tensor", "hpu_tensor", "mlc_tensor")
)
FROM_TENSOR = "torch._utils._rebuild_device_tensor_from_cpu_tensor"

_TYPES = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"])
_ORDERS = {"<": "<", "|": "", ">": ">"}
_ENCODE = "_codecs.encode"


def is_array(node: object) -> bool:
    """Whether a node is a call that would make an array, readable or not."""
    return call_path(node) in ARRAY_MAKERS


def is_array_of_weights(node: object) -> bool:
    """Whether an array has two dimensions or more: training leaves vectors of numbers in checkpoints."""
    if not isinstance(node, Call) or not is_array(node):
        return False
    state = node.states[0] if node.states else None
    shape = (
        node.args[2:3]
        if call_path(node).endswith("_frombuffer")
        else state[1:2]
        if isinstance(state, tuple)
        else ()
    )
    return bool(shape) and isinstance(shape[0], tuple) and len(shape[0]) > 1


def array_of(node: Call) -> NDArray[np.generic]:
    """The array that a call would make, in this machine's byte order; raises Unreadable for one that numpy never
    writes so."""
    if call_path(node).endswith("_frombuffer"):
        if len(node.args) != 4 or node.states:
            raise Unreadable("it is an array that numpy does not write so")
        raw, kind, shape, order = node.args
        return _array(raw, kind, shape, order == "F")
    state = node.states[0] if node.states is not None and len(node.states) == 1 else None
    plain = len(node.args) == 3 and function_path(node.args[0]) == "numpy.ndarray"
    if not plain or not isinstance(state, tuple) or len(state) != 5:
        raise Unreadable("it is an array that numpy does not write so")
    _, shape, kind, fortran, raw = state
    return _array(raw, kind, shape, fortran is True)


def device_array(node: Call) -> tuple[NDArray[np.generic], str]:
    """The array that a tensor of a device was saved as, and torch's name of the type it is to have."""
    data, kind, *_ = node.args if len(node.args) == 4 else (None, None)
    if not isinstance(data, Call) or not is_array(data) or node.states:
        raise Unreadable(f"it is made of {describe(data)}")
    return array_of(data), function_path(kind).removeprefix("torch.")


def _array(raw_node: object, kind: object, shape: object, fortran: bool) -> NDArray[np.generic]:
    dtype, raw = _dtype(kind), _bytes(raw_node)
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS or not all(map(is_count, shape)):
        raise Unreadable("its size is not made of plain non-negative integers")
    sizes = tuple(int(size) for size in shape)
    if prod(sizes) * dtype.itemsize != len(raw):
        raise Unreadable(f"its size of {sizes} does not fit its {len(raw):,} bytes")
    array = np.frombuffer(raw, dtype).reshape(sizes, order="F" if fortran else "C")
    native = np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(sizes)
    native.setflags(write=False)
    return native


def _dtype(node: object) -> np.dtype[np.generic]:
    """numpy.dtype("f4", ...) with a state whose second entry is the byte order; without one, this machine's."""
    if not isinstance(node, Call) or call_path(node) != "numpy.dtype" or not node.args:
        raise Unreadable(f"its type is {describe(node)}")
    name, states = node.args[0], node.states or ()
    order: object = "<"
    if len(states) == 1 and isinstance(states[0], tuple) and len(states[0]) > 4:
        order = states[0][1]
        # A type of several fields, or of another one's.
        if any(part is not None for part in states[0][2:5]):
            raise Unreadable("its type has parts")
    elif states:
        raise Unreadable("its type is given what numpy does not write")
    if not isinstance(name, str) or name not in _TYPES or not isinstance(order, str) or order not in _ORDERS:
        raise Unreadable(f"its type is {describe(node)}")
    return np.dtype(_ORDERS[order] + name)


def _bytes(node: object) -> bytes | memoryview:
    """Bytes as they are, or as the text that protocols before 3 write them as."""
    if call_path(node) == _ENCODE and isinstance(node, Call) and len(node.args) == 2:
        text, encoding = node.args
        if isinstance(text, str) and encoding == "latin1":
            try:
                return text.encode("latin1")
            except UnicodeEncodeError:
                raise Unreadable("its bytes are a text that is none") from None
    if isinstance(node, memoryview | bytes):
        return node
    if call_path(node) == "builtins.bytes" and isinstance(node, Call) and not node.args:
        return b""
    raise Unreadable(f"its bytes are {describe(node)}")
