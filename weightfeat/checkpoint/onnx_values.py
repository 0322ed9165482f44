"""The constants of an ONNX graph: initialisers and what is computed from them alone, as arrays of torch's types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.beside import Beside
from weightfeat.checkpoint.faults import Abuse, Unreadable
from weightfeat.checkpoint.onnx_graph import DOUBLES, FLOATS, INTS, LONGS, RAW, UNSIGNED, Graph, Node, Tensor
from weightfeat.checkpoint.protobuf import WireError, packed_varints
from weightfeat.checkpoint.storages import StoredArray
from weightfeat.checkpoint.tensors import DTYPES, MAX_DIMENSIONS, contiguous, tensor_array

OWN_DOMAINS = frozenset({"", "ai.onnx"})
_LONGEST_CHAIN = 16
# What may be computed from initialisers, beside views of them: a few times the file.
_EXPANSION = 8
_ALWAYS = 32 << 20
# TensorProto.DataType, the types that numpy or torch have.
_TYPES = {
    **{1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool"},
    **{10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16"},
}  # fmt: skip
# Where values do not lie as raw bytes, the field in which a type's values lie.
_FIELDS = {
    "float32": FLOATS,
    "float64": DOUBLES,
    "int64": LONGS,
    **dict.fromkeys(("uint32", "uint64"), UNSIGNED),
    **dict.fromkeys(("int8", "uint8", "int16", "uint16", "int32", "bool", "float16", "bfloat16"), INTS),
}


def is_real(dtype: str) -> bool:
    """Whether a type is one that weights have."""
    return dtype in ("float16", "bfloat16", "float32", "float64")


@dataclass
class Constants:
    """What a graph computes without its input, by the name of the value; each is worked out once."""

    graph: Graph
    beside: Beside
    size: int
    _makers: Mapping[str, Node] = field(init=False)
    _known: dict[str, StoredArray | None] = field(default_factory=dict)
    _computed: int = 0

    def __post_init__(self) -> None:
        self._makers = {output: node for node in self.graph.nodes for output in node.outputs if output}

    def value(self, name: str, depth: int = 0) -> StoredArray | None:
        """The array of that name, None where it depends on the network's input; raises Unreadable."""
        if name not in self._known:
            self._known[name] = self._value(name, depth)
        return self._known[name]

    def is_made_by(self, name: str) -> str:
        """The operator that makes a value; "" where it is an input or an initialiser."""
        node = self._makers.get(name)
        return node.operator if node else ""

    def _value(self, name: str, depth: int) -> StoredArray | None:
        if name in self.graph.tensors:
            return self._stored(self.graph.tensors[name])
        node = self._makers.get(name)
        if node is None or node.domain not in OWN_DOMAINS or depth > _LONGEST_CHAIN:
            return None
        attribute = node.attributes.get("value")
        if node.operator == "Constant":
            return self._stored(attribute.tensor) if attribute and attribute.tensor else None
        if node.operator not in ("Identity", "Cast", "Transpose", "DequantizeLinear"):
            return None
        source = self.value(node.inputs[0], depth + 1) if node.inputs else None
        if source is None or node.operator == "Identity":
            return source
        if node.operator == "Cast":
            return self._cast(source, node)
        return (
            _transposed(source, node)
            if node.operator == "Transpose"
            else self._dequantized(source, node, depth)
        )

    def _stored(self, tensor: Tensor) -> StoredArray:
        dtype = _TYPES.get(tensor.kind, f"number {tensor.kind} of ONNX")
        if dtype not in DTYPES:
            raise Unreadable(f"its type {dtype} is not supported")
        if len(tensor.shape) > MAX_DIMENSIONS or any(size < 0 for size in tensor.shape):
            raise Unreadable(f"its shape {tensor.shape} is none")
        if tensor.scattered:
            raise Unreadable("its values are written one by one or in pieces")
        raw = self._bytes(tensor, dtype)
        if len(raw) != prod(tensor.shape) * DTYPES[dtype].itemsize:
            raise Unreadable(f"it has {len(raw):,} bytes for the shape {tensor.shape}")
        return StoredArray(dtype, tensor_array(raw, dtype, contiguous(tensor.shape)))

    def _bytes(self, tensor: Tensor, dtype: str) -> memoryview:
        if tensor.place is not None:
            return self._elsewhere(tensor.place)
        number, raw = tensor.values or (RAW, memoryview(b""))
        if number == RAW:
            return raw
        if number != _FIELDS.get(dtype):
            raise Unreadable("its values lie in the field of another type")
        if number in (FLOATS, DOUBLES):
            return raw
        try:
            values = packed_varints(raw)
        except WireError as fault:
            raise Unreadable(str(fault)) from None
        self._spend(values.nbytes)
        # A half is written as the number that its bits are.
        kind = np.dtype("<u2") if dtype == "float16" else DTYPES[dtype]
        return memoryview(values.astype(kind).tobytes())

    def _elsewhere(self, place: Mapping[str, str]) -> memoryview:
        numbers = [place.get("offset") or "0", place.get("length") or ""]
        if not all(len(n) < 19 and (n.isdecimal() or not n) for n in numbers):
            raise Unreadable("the place of its values is no number")
        length = int(numbers[1]) if numbers[1] else None
        return self.beside.part(place.get("location", ""), int(numbers[0]), length)

    def _cast(self, source: StoredArray, node: Node) -> StoredArray:
        target = _TYPES.get(node.attributes["to"].number or 0, "") if "to" in node.attributes else ""
        if not is_real(source.dtype) or not is_real(target) or target == "bfloat16":
            raise Unreadable(f"it is cast from {source.dtype} to {target or 'another type'}")
        self._spend(8 * source.data.size)
        return StoredArray(target, _frozen(_floats(source).astype(DTYPES[target])))

    def _dequantized(self, source: StoredArray, node: Node, depth: int) -> StoredArray:
        """(q - zero) * scale, with a scale for each channel of an axis or one for all."""
        return self.scaled(source, node.inputs[1:], _attribute(node, "axis", 1), depth)

    def scaled(self, source: StoredArray, inputs: tuple[str, ...], axis: int, depth: int = 0) -> StoredArray:
        """Integers as the numbers they stand for; `inputs` name the scale and, where it is not zero, the zero point."""
        scale = self.value(inputs[0], depth + 1) if inputs else None
        zero = self.value(inputs[1], depth + 1) if len(inputs) > 1 and inputs[1] else None
        if (
            scale is None
            or source.data.dtype.kind not in "iu"
            or (zero is None and len(inputs) > 1 and inputs[1])
        ):
            raise Unreadable("its scale is not in the file")
        self._spend(8 * source.data.size)
        shift = 0.0 if zero is None else _along(zero.data, axis, source.data.ndim)
        values = (source.data.astype(np.float32) - shift) * _along(_floats(scale), axis, source.data.ndim)
        if values.shape != source.data.shape:
            raise Unreadable("its scale is of another shape")
        return StoredArray("float32", _frozen(values.astype(np.float32)))

    def multiplied(self, array: StoredArray, factor: float) -> StoredArray:
        """The array times a number."""
        if factor == 1:
            return array
        self._spend(8 * array.data.size)
        return StoredArray(
            "float32", _frozen(np.multiply(_floats(array), np.float32(factor), dtype=np.float32))
        )

    def _spend(self, size: int) -> None:
        self._computed += size
        if self._computed > _ALWAYS + _EXPANSION * self.size:
            raise Abuse(f"its graph makes {self._computed:,} bytes of weights from a file of {self.size:,}")


def _attribute(node: Node, name: str, default: int) -> int:
    found = node.attributes.get(name)
    return default if found is None or found.number is None else found.number


def _transposed(source: StoredArray, node: Node) -> StoredArray:
    given = node.attributes.get("perm")
    axes = given.numbers if given and given.numbers else tuple(reversed(range(source.data.ndim)))
    if sorted(axes) != list(range(source.data.ndim)):
        raise Unreadable("its axes are exchanged for others than it has")
    return StoredArray(source.dtype, source.data.transpose(axes))


def _along(values: NDArray[np.generic], axis: int, dimensions: int) -> NDArray[np.float32]:
    """One number, or one for each place of an axis, in a shape that numpy spreads over the others."""
    floats = values.astype(np.float32)
    if floats.size == 1:
        return floats.reshape(())
    if floats.ndim != 1 or not -dimensions <= axis < dimensions:
        raise Unreadable("it is scaled in blocks")
    shape = [1] * dimensions
    shape[axis] = floats.size
    return floats.reshape(shape)


def _floats(array: StoredArray) -> NDArray[np.floating]:
    if array.dtype == "bfloat16":
        return (array.data.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array.data.astype(np.float64 if array.dtype == "float64" else np.float32, copy=False)


def _frozen(array: NDArray[np.generic]) -> NDArray[np.generic]:
    array.setflags(write=False)
    return array
