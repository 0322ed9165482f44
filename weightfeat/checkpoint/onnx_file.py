"""ONNX networks: the weights each operation of the graph takes, in the graph's order, under torch's names and axes.

Which tensor is a kernel, a bias or a running mean is told by the operation that takes it and never by its name; a name
that torch's exporter kept is kept. What reaches no output of the network is not part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import MappingProxyType

from weightfeat.checkpoint.beside import Beside
from weightfeat.checkpoint.faults import Abuse, Malformed, Unreadable, Unsupported
from weightfeat.checkpoint.modules import Found
from weightfeat.checkpoint.onnx_graph import Graph, Node, read_graph
from weightfeat.checkpoint.onnx_names import Namer
from weightfeat.checkpoint.onnx_values import OWN_DOMAINS, Constants, is_real
from weightfeat.checkpoint.storages import StoredArray
from weightfeat.checkpoint.types import Finding, StoredTensor
from weightfeat.checkpoint.walk import checked_name

_MOST_FINDINGS = 50
# torch's name for each input of the operators that hold weights, "" for one that is none.
_ROLES: dict[str, tuple[str, ...]] = {
    "Conv": ("", "weight", "bias"),
    "FusedConv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    "Gemm": ("", "weight", "bias"),
    "FusedGemm": ("", "weight", "bias"),
    "MatMul": ("", "weight"),
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "InstanceNormalization": ("", "weight", "bias"),
    "LayerNormalization": ("", "weight", "bias"),
    "GroupNormalization": ("", "weight", "bias"),
    "PRelu": ("", "weight"),
    "Gather": ("weight",),
    "QLinearConv": ("", "", "", "weight", "", "", "", "", "bias"),
}
_FUSED = frozenset({"FusedConv", "FusedGemm"})  # onnxruntime's own, of its domain
_ONNXRUNTIME = "com.microsoft"
# Their kernel must be a constant; MatMul and Gather multiply and pick what the network computes too.
_HOLD_WEIGHTS = _ROLES.keys() - {"MatMul", "Gather", "LayerNormalization", "PRelu"}
_WHOLE_NUMBERS = frozenset({"ConvInteger", "MatMulInteger", "QLinearMatMul", "QGemm", "MatMulNBits"})
_LINEAR = frozenset({"Gemm", "FusedGemm", "MatMul"})
# What only hands constants on: whoever takes the result takes the weights.
_MAKERS = frozenset({"Identity", "Cast", "Transpose", "DequantizeLinear", "Constant"})
_ORDER = ("weight", "bias", "running_mean", "running_var")
_SHOWN = 4
# What torch's exporter calls a kernel that it computed of a convolution's and its norm's.
_FOLDED = re.compile(r"onnx::Conv_[0-9]+")
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div"})


def read_onnx(path: Path, data: memoryview) -> tuple[Found, tuple[memoryview, ...]]:
    """The network of an ONNX file, and what was mapped of the files beside it that its weights lie in.

    Raises
    ------
    Malformed : no ONNX graph, or one whose operations are not in an order in which they can be computed.
    Unsupported : a branch or loop, operators that the file itself defines, no weights that can be read.
    Abuse : a limit exceeded, two of one name, weights that lie outside the file's folder.
    """
    graph = read_graph(data)
    _check_order(graph)
    nodes = _live(graph)
    beside = Beside(path.parent)
    reading = _Reading(Constants(graph, beside, len(data)), _readers(nodes), frozenset(graph.outputs))
    for node in nodes:
        reading.take(node)
    if not reading.tensors:
        reason = f" ({reading.findings[0].detail})" if reading.findings else ""
        raise Unsupported(f"none of its weights can be read{reason}")
    findings = (*reading.findings, *_notes(graph, nodes))
    return Found(tuple(reading.tensors), MappingProxyType({}), findings), tuple(beside.files.values())


def _check_order(graph: Graph) -> None:
    """Raises Malformed where an operation takes what is not there yet, Abuse where two make one value."""
    known = {"", *graph.tensors, *graph.inputs}
    for node in graph.nodes:
        absent = next((name for name in node.inputs if name not in known), None)
        if absent is not None:
            raise Malformed(
                f"its operation {node.name or node.operator!r} takes {absent!r} before it is there"
            )
        for name in filter(None, node.outputs):
            if name in known:
                raise Abuse(f"its graph makes {name!r} twice")
            known.add(name)
    if not graph.outputs or not known.issuperset(graph.outputs):
        raise Malformed("its graph makes no output")


def _live(graph: Graph) -> list[Node]:
    """The operations that an output depends on; raises Unsupported for those whose inside is another graph."""
    needed, live = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if needed.isdisjoint(filter(None, node.outputs)):
            continue
        if any(attribute.graph for attribute in node.attributes.values()):
            raise Unsupported(
                f"its graph has a branch or loop ({node.operator!r}): export it for a fixed shape"
            )
        if (node.domain, node.operator) in graph.functions:
            raise Unsupported(
                f"its operator {node.operator!r} is defined in the file: inline it (onnx.inliner)"
            )
        needed.update(node.inputs)
        live.append(node)
    return live[::-1]


def _readers(nodes: Sequence[Node]) -> dict[str, list[Node]]:
    """The operations that take each value."""
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return readers


def _notes(graph: Graph, nodes: Sequence[Node]) -> Iterator[Finding]:
    used = {name for node in nodes for name in node.inputs}
    idle = [tensor for name, tensor in graph.tensors.items() if name not in used and prod(tensor.shape) > 1]
    if idle:
        yield Finding("note", f"{len(idle)} initialisers reach no output and were not analysed")
    kernels = (name for name, tensor in graph.tensors.items() if name in used and len(tensor.shape) > 2)
    folded = sum(_FOLDED.fullmatch(name) is not None for name in kernels)
    if folded:
        yield Finding(
            "note", f"batch norms are folded into {folded} of its layers: export it without constant folding"
        )
    if len(graph.outputs) > 1:
        yield Finding("note", f"its graph has {len(graph.outputs)} outputs")
    strange = sorted({f"{node.domain}.{node.operator}" for node in nodes if node.domain not in OWN_DOMAINS})
    if strange:
        shown = ", ".join(strange[:_SHOWN]) + (", ..." if len(strange) > _SHOWN else "")
        yield Finding("note", f"its graph has operators that are not of ONNX's own: {shown}")


@dataclass
class _Reading:
    """Takes operations one by one and keeps their weights as torch's modules would have them."""

    constants: Constants
    readers: Mapping[str, Sequence[Node]]
    outputs: frozenset[str]
    namer: Namer = field(default_factory=Namer)
    tensors: list[StoredTensor] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    _emitted: set[tuple[str, ...]] = field(default_factory=set)
    _merged: set[int] = field(default_factory=set)

    def take(self, node: Node) -> None:
        """Keep an operation's weights; what cannot be read is a finding."""
        if id(node) in self._merged:
            return
        roles = _roles(node)
        held: dict[str, tuple[str, StoredArray]] = {}
        for place, name in enumerate(node.inputs):
            role = roles[place] if place < len(roles) else ""
            try:
                array = self._weights(node, role, place) if role else self._beside(node, place)
            except Unreadable as fault:
                self._unreadable(f"{name!r} of {node.operator}: {fault}")
                continue
            if array is None:
                continue
            if role:
                held[role] = (name, array)
            else:
                self._single(node, name, array)
        if "weight" in held and "bias" not in held:
            held |= self._added(node, held["weight"][1])
        self._module(node, held)

    def _weights(self, node: Node, role: str, place: int) -> StoredArray | None:
        """What an operation takes as a weight or bias, under torch's axes."""
        name = node.inputs[place]
        array = self.constants.value(name) if name else None
        if array is None or not name:
            if role == "weight" and node.operator in _HOLD_WEIGHTS:
                raise Unreadable(f"it is made by {self.constants.is_made_by(name) or 'the input'}")
            return None
        if node.operator == "QLinearConv":
            if role == "bias":
                return None  # of whole numbers, in units of the input's scale
            array = self.constants.scaled(array, node.inputs[place + 1 : place + 3], 0)
        if not is_real(array.dtype):
            if node.operator == "Gather":
                return None
            raise Unreadable(f"it is of type {array.dtype}")
        if role == "weight" and node.operator in _LINEAR:
            return self._linear(node, array)
        if role == "bias" and node.operator in ("Gemm", "FusedGemm"):
            array = _flat(self.constants.multiplied(array, _real(node, "beta", 1.0)))
        return array

    def _linear(self, node: Node, array: StoredArray) -> StoredArray | None:
        """A kernel (inputs, outputs) as torch's (outputs, inputs)."""
        if array.data.ndim != 2:
            return None if node.operator == "MatMul" else _refused(f"it has {array.data.ndim} dimensions")
        if node.operator == "MatMul":
            return StoredArray(array.dtype, array.data.T)
        turned = node.attributes.get("transB")
        array = self.constants.multiplied(array, _real(node, "alpha", 1.0))
        return array if turned and turned.number else StoredArray(array.dtype, array.data.T)

    def _beside(self, node: Node, place: int) -> StoredArray | None:
        """A constant of numbers in no role of its own: it stands alone beside the modules."""
        if node.domain in OWN_DOMAINS and node.operator in _MAKERS:
            return None
        name = node.inputs[place]
        array = self.constants.value(name) if name and not _is_scale(node, place) else None
        if array is None or array.data.size < 2:
            return None
        if node.operator in _WHOLE_NUMBERS and array.data.ndim > 1:
            raise Unreadable(f"it is of type {array.dtype}")
        if not is_real(array.dtype):
            return None
        return StoredArray(array.dtype, array.data.squeeze()) if node.operator in _ELEMENTWISE else array

    def _added(self, node: Node, weight: StoredArray) -> dict[str, tuple[str, StoredArray]]:
        """The bias that the operation behind adds, where it adds to nothing else: MatMul has none of its own."""
        width = weight.data.shape[0]
        behind = self.readers.get(node.outputs[0], ()) if node.outputs else ()
        if (
            node.operator not in ("MatMul", "Conv", "Gemm")
            or len(behind) != 1
            or node.outputs[0] in self.outputs
        ):
            return {}
        add = behind[0]
        if add.operator != "Add" or add.domain not in OWN_DOMAINS or len(add.inputs) != 2:
            return {}
        name = next((name for name in add.inputs if name != node.outputs[0]), "")
        array = self.constants.value(name) if name else None
        if array is None or not is_real(array.dtype) or array.data.size != width:
            return {}
        shape = (width, *[1] * (weight.data.ndim - 2))  # one number for each channel, spread over its map
        if array.data.shape[-len(shape) :] != shape:
            return {}
        self._merged.add(id(add))
        return {"bias": (name, _flat(array))}

    def _module(self, node: Node, held: Mapping[str, tuple[str, StoredArray]]) -> None:
        names = {role: name for role, (name, _) in held.items()}
        key = tuple(names.values())
        if not held or key in self._emitted:  # the same weights once more: one module used twice
            return
        self._emitted.add(key)
        module = self.namer.module(node, names)
        for role in sorted(held, key=_ORDER.index):
            self._keep(f"{module}.{role}", held[role][1])

    def _single(self, node: Node, name: str, array: StoredArray) -> None:
        if (name,) not in self._emitted:
            self._emitted.add((name,))
            self._keep(self.namer.single(name), array)

    def _keep(self, name: str, array: StoredArray) -> None:
        self.tensors.append(StoredTensor(checked_name(name), array.dtype, array.data))

    def _unreadable(self, detail: str) -> None:
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(Finding("unreadable-tensor", detail))


def _roles(node: Node) -> tuple[str, ...]:
    own = _ONNXRUNTIME if node.operator in _FUSED else ""
    if node.domain != own and not (own == "" and node.domain in OWN_DOMAINS):
        return ()
    return _ROLES.get(node.operator, ())


def _is_scale(node: Node, place: int) -> bool:
    """Whether an input only says how others are scaled or shaped."""
    return node.operator in ("QLinearConv", "Resize", "Clip", "Pad") and place > 0


def _real(node: Node, name: str, default: float) -> float:
    found = node.attributes.get(name)
    return default if found is None or found.real is None else found.real


def _flat(array: StoredArray) -> StoredArray:
    return StoredArray(array.dtype, array.data.reshape(-1))


def _refused(reason: str) -> StoredArray:
    raise Unreadable(reason)
