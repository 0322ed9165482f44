"""Small networks run from their weights: chains of convolutions and linear layers, and CIFAR's residual networks.

What runs is the package's own code, on tensors that were read without running anything. Shapes and names say which
network it is. Where they cannot say (a pooling may take the largest or the mean, an activation may be another than a
rectifier), batch norms can: under the right way they meet the means and variances that they saw in training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from weightfeat.execution.pieces import (
    HABITS,
    USUAL,
    Forward,
    Habit,
    Norming,
    convolution,
    postactivated,
    preactivated,
    tail,
    tensor,
)
from weightfeat.network.layouts import Layout, layouts, parts, perceptron_inputs
from weightfeat.network.residual import Block, residual_blocks
from weightfeat.network.types import Layer, Network

__all__ = ["Small", "candidates"]

SIDE = 32
"""Side in pixels of what residual networks of CIFAR's kind are run on: they take any."""


@dataclass(frozen=True, eq=False)
class Small:
    """A network that runs: (n, channels, side, side) to logits (n, C).

    Attributes
    ----------
    products : multiplications an image.
    maps : numbers an image of all that layers give.
    norms : its batch norms that feed on maps.
    """

    forward: Forward
    channels: int
    side: int
    products: int
    maps: int
    norms: tuple[Norming, ...] = ()

    def unlike(self, x: Tensor) -> float:
        """How far its norms, on these images, are from what they saw in training, in nats; the mean over norms."""
        met: list[float] = []
        for norm in self.norms:
            norm.met = met
        try:
            with torch.no_grad():
                self.forward(x)
        finally:
            for norm in self.norms:
                norm.met = None
        return sum(met) / len(met)


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
        normed = any(layer.norm_after is not None for layer in chain[0])
        for layout in fitting:
            for habit in HABITS if normed else (USUAL,):
                yield _chain(*chain, layout, habit, network.channels_last)
    else:
        yield from (_perceptron(network, *inputs) for inputs in perceptron_inputs(network))


def _chain(
    convolutions: Sequence[Layer], linear: Sequence[Layer], layout: Layout, habit: Habit, channels_last: bool
) -> Small:
    both = zip(convolutions, layout.padding, strict=True)
    made = [convolution(layer, padding, habit) for layer, padding in both]
    last = tail(linear, habit)

    def forward(x: Tensor) -> Tensor:
        for (step, _), pooled in zip(made, layout.pooled, strict=True):
            x = step(x)
            x = habit.pool(x) if pooled else x
        x = x.permute(0, 2, 3, 1) if channels_last else x
        return last(x.flatten(1))

    products, maps = _costs(convolutions, layout)
    products += sum(layer.weight.size for layer in linear)
    maps += sum(len(layer.weight) for layer in linear)
    norms = tuple(norm for _, own in made for norm in own)
    return Small(forward, layout.channels, layout.side, products, maps, norms)


def _costs(convolutions: Sequence[Layer], layout: Layout) -> tuple[int, int]:
    """Multiplications of all convolutions, and the numbers of all maps."""
    side, total, maps = layout.side, 0, layout.channels * layout.side**2
    for layer, padding, pooled in zip(convolutions, layout.padding, layout.pooled, strict=True):
        side += 2 * padding - layer.weight.shape[2] + 1
        total += side * side * layer.weight.size
        maps += side * side * len(layer.weight)
        side //= 2 if pooled else 1
    return total, maps


def _perceptron(network: Network, channels: int, side: int) -> Small:
    last, layers = tail(network.layers), network.layers
    products = sum(layer.weight.size for layer in layers)
    maps = layers[0].weight.shape[1] + sum(len(layer.weight) for layer in layers)
    return Small(lambda x: last(x.flatten(1)), channels, side, products, maps)


def _residual(
    network: Network, stem: Layer, blocks: Sequence[Block], before: bool, centred: bool, side: int
) -> Small:
    head = tail([network.layers[network.head]])
    bias = None if stem.bias is None else tensor(stem.bias)
    weight = tensor(stem.weight)
    made = [preactivated(block) if before else postactivated(block, centred) for block in blocks]
    last = Norming(network.norms[-1]) if before else None
    first = None if before or stem.norm_after is None else Norming(stem.norm_after)

    def forward(x: Tensor) -> Tensor:
        x = functional.conv2d(x, weight, bias, padding=1)
        if not before:
            x = functional.relu(x if first is None else first(x))
        for block, _ in made:
            x = block(x)
        x = x if last is None else functional.relu(last(x))
        return head(x.mean(dim=(2, 3)))

    left, products, maps = side, side**2 * stem.weight.size, side**2 * len(stem.weight)
    for block in blocks:
        left //= block.stride
        products += left**2 * (block.first.weight.size + block.second.weight.size)
        maps += left**2 * (len(block.first.weight) + len(block.second.weight))
    norms = (*([] if first is None else [first]), *(norm for _, own in made for norm in own))
    return Small(forward, stem.weight.shape[1], side, products, maps, norms)
