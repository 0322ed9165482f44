"""Follows channels through a traced torchvision network: which layer's outputs reach which layer's inputs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

_SAME_CHANNELS_MODULES = (
    nn.ReLU,
    nn.ReLU6,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Identity,
)
_SAME_CHANNELS_CALLS = frozenset(
    {"relu", "avg_pool2d", "adaptive_avg_pool2d", "max_pool2d", "flatten", "mean"}
)


@dataclass(frozen=True)
class Segment:
    """A run of channels. `source` names the layer whose outputs they are, all of them and in order, or is None.

    `exact` is False once something else was added to them.
    """

    source: str | None
    channels: int
    exact: bool = True


@dataclass(frozen=True)
class Flow:
    """What a tensor's channels are made of; `norm` is a norm over all of them that follows no single layer."""

    segments: tuple[Segment, ...]
    norm: str | None = None

    @property
    def channels(self) -> int:
        return sum(segment.channels for segment in self.segments)

    @property
    def only_source(self) -> str | None:
        """The one layer this tensor holds the outputs of, if it is one."""
        first, *rest = self.segments
        return None if rest or not first.exact else first.source


@dataclass(frozen=True)
class Wiring:
    """Where one layer's inputs come from and which norm takes its outputs; names of modules."""

    inputs: Flow
    norm_after: str | None

    @property
    def previous(self) -> str | None:
        return self.inputs.only_source

    @property
    def norm_before(self) -> str | None:
        return self.inputs.norm


def trace(network: nn.Module, image_size: int = 224) -> dict[str, Wiring]:
    """Wiring of every convolution and linear layer a forward pass in eval mode goes through.

    Parameters
    ----------
    network : may live on the meta device; nothing is computed there but shapes.
    image_size : side of the square input, pixels; large enough for every pooling layer.
    """
    traced = fx.symbolic_trace(network.eval())
    device = next(network.parameters()).device
    ShapeProp(traced).propagate(torch.empty(1, 3, image_size, image_size, device=device))
    inputs: dict[str, Flow] = {}
    norm_after: dict[str, str] = {}
    flows: dict[fx.Node, Flow] = {}
    for node in traced.graph.nodes:
        operands = [flows[argument] for argument in _tensor_arguments(node) if argument in flows]
        module = traced.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            inputs[node.target] = operands[0]
            flows[node] = _through_layer(node.target, module, operands[0])
        elif isinstance(module, nn.BatchNorm2d):
            producer = node.args[0]
            if producer.op == "call_module" and producer.target in inputs:
                norm_after[producer.target] = node.target
                flows[node] = operands[0]
            else:
                flows[node] = Flow(operands[0].segments, norm=node.target)
        elif _is_one_tensor(node):
            flows[node] = _through_operation(node, module, operands)
    return {name: Wiring(flow, norm_after.get(name)) for name, flow in inputs.items()}


def is_depthwise(module: nn.Module) -> bool:
    """One filter a channel."""
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


def _through_layer(name: str, module: nn.Conv2d | nn.Linear, inputs: Flow) -> Flow:
    if is_depthwise(module) and module.weight.shape[0] == inputs.channels:
        # Its outputs are its inputs' channels, one to one: the dense layer before stays the source.
        return Flow(inputs.segments)
    return Flow((Segment(name, module.weight.shape[0]),))


def _through_operation(node: fx.Node, module: nn.Module | None, operands: Sequence[Flow]) -> Flow:
    """Flow after anything that is neither layer nor norm; channels of unknown origin where it mixes them."""
    channels = node.meta["tensor_meta"].shape[1]
    name = node.target if isinstance(node.target, str) else node.target.__name__
    if not operands:  # the image itself, or one of the halves that a split made
        return Flow((Segment(None, channels),))
    if node.target is torch.cat:
        return _concatenated(operands)
    if node.target in (operator.add, operator.iadd):
        return _added(operands)
    same = isinstance(module, _SAME_CHANNELS_MODULES) if module is not None else name in _SAME_CHANNELS_CALLS
    # Flattening a map of more than one pixel gives more features than there were channels.
    if same and operands[0].channels == channels:
        return operands[0]
    return Flow((Segment(None, channels),))


def _concatenated(operands: Sequence[Flow]) -> Flow:
    if len(operands) == 1:
        return operands[0]
    return Flow(tuple(segment for operand in operands for segment in operand.segments))


def _added(operands: Sequence[Flow]) -> Flow:
    """The last operand that is one layer's own output stands for the sum, marked inexact."""
    for operand in reversed(operands):
        if operand.only_source is not None:
            return Flow((Segment(operand.only_source, operand.channels, exact=False),))
    return Flow((Segment(None, operands[0].channels),))


def _is_one_tensor(node: fx.Node) -> bool:
    return hasattr(node.meta.get("tensor_meta"), "shape") and node.op != "output"


def _tensor_arguments(node: fx.Node) -> list[fx.Node]:
    """Nodes among the positional arguments, lists of them included."""
    found: list[fx.Node] = []
    for argument in node.args:
        items: Sequence[Any] = argument if isinstance(argument, (list, tuple)) else (argument,)
        found += [item for item in items if isinstance(item, fx.Node)]
    return found
