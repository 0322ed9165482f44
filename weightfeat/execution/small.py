"""Small networks run from their weights: chains of convolutions and linear layers, and CIFAR's residual networks.

What runs is the code below, on tensors that were read without running anything. Shapes and names say which network it
is; where they cannot say (a pooling may take the largest or the mean, an activation may be another than a rectifier),
what is usual is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from weightfeat.network.layouts import Layout, layouts, parts, perceptron_inputs
from weightfeat.network.residual import Block, residual_blocks
from weightfeat.network.types import Layer, Network, Norm

__all__ = ["Small", "candidates"]

Forward = Callable[[Tensor], Tensor]
SIDE = 32
"""Side in pixels of what residual networks of CIFAR's kind are run on: they take any."""


@dataclass(frozen=True, eq=False)
class Small:
    """A network that runs: (n, channels, side, side) to logits (n, C).

    Attributes
    ----------
    products : multiplications an image.
    maps : numbers an image of all that layers give.
    first : what its first norm takes, and the variance that norm saw in training; None where it has none.
    """

    forward: Forward
    channels: int
    side: int
    products: int
    maps: int
    first: tuple[Forward, Tensor] | None = None


def candidates(network: Network, side: int | None = None) -> Iterator[Small]:
    """Every way to run it that its shapes allow, the most usual first; none where no code here fits such a network.
    Each has its own copy of the weights, made when it is asked for.

    `side` is that of its images in pixels, where that is known.
    """
    if network.layers[network.head].kind != "linear":
        return
    if (blocks := residual_blocks(network)) is not None:
        grown = any(block.shortcut is None and block.stride > 1 for block in blocks[1])
        for centred in (True, False) if grown else (True,):
            yield _residual(network, *blocks, centred, side or SIDE)
    elif (chain := parts(network)) is not None:
        fitting = (layout for layout in layouts(network) if side in (None, layout.side))
        yield from (_chain(*chain, layout, network.channels_last) for layout in fitting)
    else:
        yield from (_perceptron(network, *inputs) for inputs in perceptron_inputs(network))


def _chain(
    convolutions: Sequence[Layer], linear: Sequence[Layer], layout: Layout, channels_last: bool
) -> Small:
    steps = [
        _convolution(layer, padding) for layer, padding in zip(convolutions, layout.padding, strict=True)
    ]
    tail = _tail(linear)

    def forward(x: Tensor) -> Tensor:
        for step, pooled in zip(steps, layout.pooled, strict=True):
            x = step(x)
            x = functional.max_pool2d(x, 2) if pooled else x
        x = x.permute(0, 2, 3, 1) if channels_last else x
        return tail(x.flatten(1))

    products, maps = _costs(convolutions, layout)
    products += sum(layer.weight.size for layer in linear)
    maps += sum(len(layer.weight) for layer in linear)
    return Small(
        forward, layout.channels, layout.side, products, maps, _first(convolutions[0], layout.padding[0])
    )


def _first(stem: Layer, padding: int) -> tuple[Forward, Tensor] | None:
    norm = stem.norm_after
    if norm is None or norm.var is None:
        return None
    weight, bias, rectified = _tensor(stem.weight), _optional(stem.bias), _rectified_first(norm)

    def run(x: Tensor) -> Tensor:
        x = functional.conv2d(x, weight, bias, padding=padding)
        return functional.relu(x) if rectified else x

    return run, _tensor(norm.var)


def _rectified_first(norm: Norm) -> bool:
    """Whether a norm stands behind the rectifier: a mean of what that lets through is nowhere below 0."""
    return norm.mean is not None and float(norm.mean.min()) >= 0


def _costs(convolutions: Sequence[Layer], layout: Layout) -> tuple[int, int]:
    """Multiplications of all convolutions, and the numbers of all maps."""
    side, total, maps = layout.side, 0, layout.channels * layout.side**2
    for layer, padding, pooled in zip(convolutions, layout.padding, layout.pooled, strict=True):
        side += 2 * padding - layer.weight.shape[2] + 1
        total += side * side * layer.weight.size
        maps += side * side * len(layer.weight)
        side //= 2 if pooled else 1
    return total, maps


def _convolution(layer: Layer, padding: int) -> Forward:
    weight, bias, norm = _tensor(layer.weight), _optional(layer.bias), layer.norm_after
    normed = None if norm is None else _norm(norm)
    rectified_first = norm is not None and _rectified_first(norm)

    def run(x: Tensor) -> Tensor:
        x = functional.conv2d(x, weight, bias, padding=padding)
        if normed is None:
            return functional.relu(x)
        return normed(functional.relu(x)) if rectified_first else functional.relu(normed(x))

    return run


def _tail(linear: Sequence[Layer]) -> Forward:
    tensors = [(_tensor(layer.weight), _optional(layer.bias), layer.norm_after) for layer in linear]
    norms = [None if norm is None else _norm(norm) for _, _, norm in tensors]

    def run(x: Tensor) -> Tensor:
        for place, ((weight, bias, _), norm) in enumerate(zip(tensors, norms, strict=True)):
            x = functional.linear(x, weight, bias)
            x = x if norm is None else norm(x)
            x = functional.relu(x) if place + 1 < len(tensors) else x
        return x

    return run


def _perceptron(network: Network, channels: int, side: int) -> Small:
    tail, layers = _tail(network.layers), network.layers
    products = sum(layer.weight.size for layer in layers)
    maps = layers[0].weight.shape[1] + sum(len(layer.weight) for layer in layers)
    return Small(lambda x: tail(x.flatten(1)), channels, side, products, maps)


def _residual(
    network: Network, stem: Layer, blocks: Sequence[Block], before: bool, centred: bool, side: int
) -> Small:
    head = network.layers[network.head]
    tail = _tail([head])
    start = _tensor(stem.weight), _optional(stem.bias)
    inner = [_preactivated(block) if before else _postactivated(block, centred) for block in blocks]
    last = _norm(network.norms[-1]) if before else None
    first = None if before or stem.norm_after is None else _norm(stem.norm_after)

    def forward(x: Tensor) -> Tensor:
        x = functional.conv2d(x, start[0], start[1], padding=1)
        if not before:
            x = functional.relu(x if first is None else first(x))
        for block in inner:
            x = block(x)
        x = x if last is None else functional.relu(last(x))
        return tail(x.mean(dim=(2, 3)))

    left, products, maps = side, side**2 * stem.weight.size, side**2 * len(stem.weight)
    for block in blocks:
        left //= block.stride
        products += left**2 * (block.first.weight.size + block.second.weight.size)
        maps += left**2 * (len(block.first.weight) + len(block.second.weight))
    return Small(forward, stem.weight.shape[1], side, products, maps, None if before else _first(stem, 1))


def _postactivated(block: Block, centred: bool) -> Forward:
    one, two = _tensor(block.first.weight), _tensor(block.second.weight)
    norm_one, norm_two = map(_norm, block.norms)
    around = _around(block, normed=True, centred=centred)

    def run(x: Tensor) -> Tensor:
        out = functional.relu(norm_one(functional.conv2d(x, one, stride=block.stride, padding=1)))
        return functional.relu(norm_two(functional.conv2d(out, two, padding=1)) + around(x))

    return run


def _preactivated(block: Block) -> Forward:
    one, two = _tensor(block.first.weight), _tensor(block.second.weight)
    norm_one, norm_two = map(_norm, block.norms)
    around = _around(block, normed=False, centred=True)

    def run(x: Tensor) -> Tensor:
        begun = functional.relu(norm_one(x))
        out = functional.relu(norm_two(functional.conv2d(begun, one, stride=block.stride, padding=1)))
        return functional.conv2d(out, two, padding=1) + (x if block.shortcut is None else around(begun))

    return run


def _around(block: Block, *, normed: bool, centred: bool) -> Forward:
    """What leads around: nothing, a 1 x 1 convolution, or (He et al. 2016, option A) fewer pixels and more channels,
    the new ones on both sides of the old (`centred`) or behind them."""
    if block.shortcut is not None:
        weight, after = _tensor(block.shortcut.weight), block.shortcut.norm_after
        norm = _norm(after) if normed and after is not None else None

        def projected(x: Tensor) -> Tensor:
            x = functional.conv2d(x, weight, stride=block.stride)
            return x if norm is None else norm(x)

        return projected
    more = len(block.second.weight) - block.first.weight.shape[1]

    def padded(x: Tensor) -> Tensor:
        x = x[:, :, :: block.stride, :: block.stride]
        ahead = more // 2 if centred else 0
        return functional.pad(x, (0, 0, 0, 0, ahead, more - ahead)) if more else x

    return padded


def _norm(norm: Norm) -> Forward:
    """A batch norm in eval mode as one factor and one shift a channel."""
    channels = next(len(each) for each in (norm.gamma, norm.beta, norm.mean, norm.var) if each is not None)
    factor = norm.factor if norm.factor is not None else np.ones(channels)
    mean = np.zeros(channels) if norm.mean is None else norm.mean
    shift = (0.0 if norm.beta is None else norm.beta) - mean * factor
    scale, offset = _tensor(factor), _tensor(shift)

    def run(x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * scale.view(shape) + offset.view(shape)

    return run


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))


def _optional(values: Any) -> Tensor | None:
    return None if values is None else _tensor(values)
