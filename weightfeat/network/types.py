"""A network as the digest sees it: ordered layers with their kind, role and norm partners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.types import Finding

Kind = Literal["conv", "depthwise", "grouped", "linear", "norm", "embedding", "other"]
Role = Literal["stem", "body", "head"]
Pairing = Literal["graph", "shape", "none"]


@dataclass(frozen=True, eq=False)
class Norm:
    """A BatchNorm's vectors, each float32 of shape (channels,); absent ones are None."""

    name: str
    gamma: NDArray[np.float32] | None
    beta: NDArray[np.float32] | None
    mean: NDArray[np.float32] | None
    var: NDArray[np.float32] | None
    batches: int | None = None
    eps: float = 1e-5

    @property
    def factor(self) -> NDArray[np.float64] | None:
        """gamma / sqrt(var + eps), what every channel is multiplied by; None where either is absent. (channels,)"""
        if self.gamma is None or self.var is None:
            return None
        return np.asarray(self.gamma.astype(np.float64) / np.sqrt(self.var.astype(np.float64) + self.eps))


@dataclass(frozen=True, eq=False)
class Layer:
    """One weight-bearing layer.

    `weight` is float32, shape (out, in/groups, *kernel) for convolutions and (out, in) for linear ones. `depth` runs
    from 0 (first layer) to 1 (head). `norm_after` normalises this layer's output channels, `norm_before` its input
    channels (DenseNet's order). `previous` is the index in `Network.layers` of the layer
    whose output channels are, one to one and in order, this layer's input channels (through norms, activations, pooling
    and depthwise layers only); None where an addition, concatenation or shuffle stands between.
    `pairing` says how partners were found: by the known architecture's graph, by shape, or not at all.
    """

    name: str
    kind: Kind
    role: Role
    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    groups: int
    depth: float
    norm_after: Norm | None = None
    norm_before: Norm | None = None
    previous: int | None = None
    pairing: Pairing = "none"


@dataclass(frozen=True)
class Feed:
    """Input channels [start, stop) of the head receive the output channels of layer `layer` (an index).

    Feeds do not overlap (of a residual addition the last operand that is a layer's own, normed output is named) and may
    leave channels uncovered. Their norms are the layer's `norm_after`, or the head's `norm_before` slice for
    DenseNet.
    """

    layer: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Network:
    """An ordered network. `layers[head]` is the classification layer, with `num_classes` outputs.

    `architecture` is the torchvision name where shapes prove it, else the family, else "unknown"; `family` is one of
    resnet, wide_resnet, densenet, googlenet, inception, mobilenet, shufflenet, squeezenet, vgg, unknown.
    `fingerprint` is a hash of the ordered shapes with the class count left out. `norms` lists every norm in order,
    paired or not. `channels_last` says how a map was flattened before a linear layer: place by place, each with its
    channels, as Keras does, or channel by channel, as torch.
    """

    layers: tuple[Layer, ...]
    head: int
    head_feeds: tuple[Feed, ...]
    norms: tuple[Norm, ...]
    architecture: str
    family: str
    fingerprint: str
    num_classes: int
    findings: tuple[Finding, ...] = ()
    extras: tuple[tuple[str, NDArray[Any]], ...] = ()
    channels_last: bool = False
