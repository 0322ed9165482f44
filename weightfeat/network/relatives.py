"""The family of a network that is none of the tabled architectures, where its names or shapes give it away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from weightfeat.network.names import UNKNOWN
from weightfeat.network.types import Layer

_NAMES = (
    ("densenet", r"dense_?block|dense_?layer"),
    ("squeezenet", r"expand_?[13]x[13]"),
    ("googlenet", r"inception_?\d[a-e]"),
    ("inception", r"mixed_?\d[a-e]"),
    ("shufflenet", r"stage\d.*branch_?[12]\."),
)
_FEWEST_CONVOLUTIONS = 5
_FEWEST_BLOCKS = 3


def relatives(layers: Sequence[Layer]) -> str:
    """The family a network belongs to, or "unknown"; a cautious guess from names first, then from shapes."""
    names = [layer.name.lower() for layer in layers]
    for family, pattern in _NAMES:
        if sum(re.search(pattern, name) is not None for name in names) >= 2:
            return family
    if _blocks(names) >= _FEWEST_BLOCKS:
        return resnet_kind(layers)
    if _is_mobilenet(layers):
        return "mobilenet"
    return "vgg" if _is_vgg(layers) else UNKNOWN


def resnet_kind(layers: Sequence[Layer]) -> str:
    """ "wide_resnet" where a bottleneck's inner width is half of what the block gives, ungrouped; else "resnet"."""
    named = {layer.name: layer for layer in layers}
    for name, last in named.items():
        inner = named.get(re.sub(r"conv3$", "conv2", name))
        if name.endswith("conv3") and inner is not None:
            wide = last.weight.shape[0] == 2 * inner.weight.shape[0] and inner.groups == 1
            return "wide_resnet" if wide else "resnet"
    return "resnet"


def _blocks(names: Sequence[str]) -> int:
    """How many numbered modules ("layer1.0") hold a conv1 and a conv2, as residual blocks do."""
    found = {match.groups() for name in names if (match := re.match(r"(.*\.\d+)\.conv_?([12])$", name))}
    blocks = {parent for parent, _ in found}
    return sum({(block, "1"), (block, "2")} <= found for block in blocks)


def _convolutions(layers: Sequence[Layer]) -> list[Layer]:
    return [layer for layer in layers if layer.weight.ndim == 4]


def _is_mobilenet(layers: Sequence[Layer]) -> bool:
    """Behind the stem only 3 x 3 depthwise convolutions and 1 x 1 ones between them."""
    body = _convolutions(layers)[1:]
    depthwise = [layer for layer in body if layer.kind == "depthwise"]
    pointwise = [layer for layer in body if layer.kind == "conv" and layer.weight.shape[2:] == (1, 1)]
    threes = all(layer.weight.shape[2:] == (3, 3) for layer in depthwise)
    return len(depthwise) >= _FEWEST_CONVOLUTIONS and threes and len(depthwise) + len(pointwise) == len(body)


def _is_vgg(layers: Sequence[Layer]) -> bool:
    """A plain chain of 3 x 3 convolutions that never narrows and ends in linear layers."""
    chain = _convolutions(layers)
    widths = [layer.weight.shape[0] for layer in chain]
    linked = all(layer.weight.shape[1] == before.weight.shape[0] for before, layer in pairwise(chain))
    return (
        len(chain) >= _FEWEST_CONVOLUTIONS
        and linked
        and widths == sorted(widths)
        and all(layer.kind == "conv" and layer.weight.shape[2:] == (3, 3) for layer in chain)
        and layers[-1].kind == "linear"
    )
