"""An ONNX file's graph, read from its protocol buffer within limits: nodes, and tensors whose values stay in the file.

What may appear once and is there twice is refused, for readers merge the two or take either. Source: onnx/onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from weightfeat.checkpoint.faults import Abuse, Malformed
from weightfeat.checkpoint.protobuf import (
    BYTES,
    FIXED32,
    VARINT,
    Field,
    WireError,
    fields,
    packed_varints,
    signed,
)

_MOST_FIELDS = 200_000
_LONGEST_TEXT = 1024
_MOST_DIMENSIONS = 64
# Fields of a ModelProto up to its graph: number and wire type.
_BEFORE_GRAPH = {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: BYTES, 7: BYTES}
_GRAPH = 7
# Fields of a TensorProto that hold values.
RAW, FLOATS, INTS, LONGS, DOUBLES, UNSIGNED = 9, 4, 5, 7, 10, 11
_TEXTS = 6
_VALUES = frozenset({RAW, FLOATS, INTS, LONGS, DOUBLES, UNSIGNED, _TEXTS})


@dataclass(frozen=True, eq=False)
class Tensor:
    """A TensorProto. `values` are the number and bytes of the one field that holds them, None where there is none.

    `scattered` where they are written one by one or in pieces; `place` is the description of another file's part that
    holds them ("location", "offset", "length").
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    values: tuple[int, memoryview] | None
    scattered: bool = False
    place: Mapping[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Attribute:
    """A node's attribute, of the kinds that say how weights are used; `graph` is set where it holds a whole graph."""

    number: int | None = None
    real: float | None = None
    numbers: tuple[int, ...] = ()
    tensor: Tensor | None = None
    graph: bool = False


@dataclass(frozen=True, eq=False)
class Node:
    """One operation; absent inputs are ""."""

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, eq=False)
class Graph:
    """A model's graph; `functions` are the (domain, operator) that the file itself defines."""

    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    sparse: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    functions: frozenset[tuple[str, str]]


def is_onnx(head: bytes, size: int) -> bool:
    """Whether a file that begins with `head` may be a ModelProto: version, producer and the like, then a graph.

    The format has no signature; every writer puts fields in the order of their numbers.
    """
    last = 0
    try:
        for part in fields(memoryview(head), most=_GRAPH, cut=True):
            if part.number < max(last, 1) or _BEFORE_GRAPH.get(part.number) != part.wire:
                return False
            if part.number == _GRAPH:
                return last > 0
            last = part.number
    except WireError:
        pass
    return False


def read_graph(data: memoryview) -> Graph:
    """The graph of a ModelProto; raises Malformed for bytes that are none, Abuse past a limit or for what is twice."""
    try:
        return _Reader().model(data)
    except WireError as fault:
        raise Malformed(f"it is a damaged ONNX file ({fault})") from None


@dataclass
class _Reader:
    """Reads messages out of one budget of fields for the whole file."""

    left: int = _MOST_FIELDS
    names: set[str] = field(default_factory=set)

    def model(self, data: memoryview) -> Graph:
        graphs, functions = [], set()
        for number, value in self._parts(data):
            if number == _GRAPH:
                graphs.append(_bytes(value))
            elif number == 25:
                functions.add(self._function(_bytes(value)))
        if len(graphs) != 1:
            raise (
                Abuse(f"it has {len(graphs)} graphs")
                if graphs
                else Malformed("it is an ONNX file without a graph")
            )
        return self._graph(graphs[0], frozenset(functions))

    def _parts(self, data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        for part in self._fields(data):
            yield part.number, part.value

    def _fields(self, data: memoryview) -> Iterator[Field]:
        for part in fields(data, most=_MOST_FIELDS):
            self.left -= 1
            if self.left < 0:
                raise Abuse(f"its graph is described by more than {_MOST_FIELDS:,} fields")
            yield part

    def _graph(self, data: memoryview, functions: frozenset[tuple[str, str]]) -> Graph:
        nodes: list[Node] = []
        tensors: dict[str, Tensor] = {}
        inputs: list[str] = []
        outputs: list[str] = []
        sparse = 0
        for number, value in self._parts(data):
            if number == 1:
                nodes.append(self._node(_bytes(value)))
            elif number == 5:
                tensor = self._tensor(_bytes(value))
                if tensor.name in tensors:
                    raise Abuse(f"it has two initialisers called {tensor.name!r}")
                tensors[tensor.name] = tensor
            elif number == 11:
                inputs.append(self._named(_bytes(value)))
            elif number == 12:
                outputs.append(self._named(_bytes(value)))
            elif number == 15:
                sparse += 1
        return Graph(tuple(nodes), tensors, sparse, tuple(inputs), tuple(outputs), functions)

    def _function(self, data: memoryview) -> tuple[str, str]:
        found = self._once(data, {1: _text, 10: _text})
        return found.get(10, ""), found.get(1, "")

    def _named(self, data: memoryview) -> str:
        return self._once(data, {1: _text}).get(1, "")

    def _once(
        self, data: memoryview, wanted: Mapping[int, Callable[[int | memoryview], str]]
    ) -> dict[int, str]:
        """Some text fields of a message, each of which may be there once."""
        found: dict[int, str] = {}
        for number, value in self._parts(data):
            if number in wanted:
                if number in found:
                    raise Abuse("a part of its graph is described twice")
                found[number] = wanted[number](value)
        return found

    def _node(self, data: memoryview) -> Node:
        texts: dict[int, str] = {}
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: dict[str, Attribute] = {}
        for number, value in self._parts(data):
            if number == 1:
                inputs.append(_text(value))
            elif number == 2:
                outputs.append(_text(value))
            elif number == 5:
                name, attribute = self._attribute(_bytes(value))
                if name in attributes:
                    raise Abuse(f"an operation has two attributes {name!r}")
                attributes[name] = attribute
            elif number in (3, 4, 7):
                if number in texts:
                    raise Abuse("an operation is described twice")
                texts[number] = _text(value)
        return Node(
            texts.get(3, ""), texts.get(4, ""), texts.get(7, ""), tuple(inputs), tuple(outputs), attributes
        )

    def _attribute(self, data: memoryview) -> tuple[str, Attribute]:
        name, number, real, tensor, graph = "", None, None, None, False
        numbers: list[int] = []
        seen: set[int] = set()
        for part in self._fields(data):
            if part.number in (1, 2, 3, 5):
                if part.number in seen:
                    raise Abuse("an operation's attribute is described twice")
                seen.add(part.number)
            if part.number == 1:
                name = _text(part.value)
            elif part.number == 2 and part.wire == FIXED32:
                real = float(struct.unpack("<f", _bytes(part.value))[0])
            elif part.number == 3:
                number = signed(_number(part.value))
            elif part.number == 5:
                tensor = self._tensor(_bytes(part.value))
            elif part.number == 8:
                numbers += _numbers(part)
            elif part.number in (6, 11):
                graph = True
        return name, Attribute(number, real, tuple(numbers), tensor, graph)

    def _tensor(self, data: memoryview) -> Tensor:
        shape: list[int] = []
        values: list[tuple[int, memoryview]] = []
        place: dict[str, str] = {}
        kind, name, seen, scattered = 0, "", set[int](), False
        for part in self._fields(data):
            if part.number in (2, 8, 14):
                if part.number in seen:
                    raise Abuse("an initialiser is described twice")
                seen.add(part.number)
            if part.number == 1:
                shape += _numbers(part)
            elif part.number == 2:
                kind = _number(part.value)
            elif part.number == 8:
                name = _text(part.value)
            elif part.number in _VALUES:
                if part.wire == BYTES and part.number != _TEXTS:
                    values.append((part.number, _bytes(part.value)))
                else:
                    scattered = True
            elif part.number == 13:
                entry = self._once(_bytes(part.value), {1: _text, 2: _text})
                if place.setdefault(entry.get(1, ""), entry.get(2, "")) != entry.get(2, ""):
                    raise Abuse(f"the place of initialiser {name!r} is given twice")
        if len(shape) > _MOST_DIMENSIONS:
            raise Abuse(f"initialiser {name!r} has {len(shape)} dimensions")
        if len({number for number, _ in values}) > 1 or (values and place):
            raise Abuse(f"initialiser {name!r} has its values in two places")
        return Tensor(
            name,
            kind,
            tuple(shape),
            values[0] if values else None,
            scattered or len(values) > 1,
            place or None,
        )


def _text(value: int | memoryview) -> str:
    raw = _bytes(value)
    if len(raw) > _LONGEST_TEXT:
        raise Abuse(f"a name in its graph has {len(raw):,} characters")
    try:
        return bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a name in its graph is no text") from None


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError("a field has the wrong type")
    return value


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise WireError("a field has the wrong type")
    return value


def _numbers(part: Field) -> list[int]:
    """One int64, or a packed list of them."""
    if isinstance(part.value, int):
        return [signed(part.value)]
    if part.wire != BYTES or len(part.value) > 10 * _LONGEST_TEXT:
        raise WireError("a list of numbers is none")
    return [signed(int(value)) for value in packed_varints(part.value)]
