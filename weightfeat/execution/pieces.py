"""Pieces that small networks are run with: convolutions, norms, activations, blocks, on tensors that were read.

Each is a function from a batch to a batch, made once from a network's layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from weightfeat.network.residual import Block
from weightfeat.network.types import Layer, Norm

__all__ = [
    "HABITS",
    "USUAL",
    "Forward",
    "Habit",
    "Norming",
    "convolution",
    "postactivated",
    "preactivated",
    "tail",
    "tensor",
]

Forward = Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Forward] = {"relu": functional.relu, "elu": functional.elu}
_TINY = 1e-6


@dataclass(frozen=True)
class Habit:
    """What shapes do not tell: the activation, whether it comes before the batch norm, and whether poolings take the
    largest or the mean."""

    activation: str = "relu"
    before_norm: bool = False
    mean: bool = False

    def activate(self, x: Tensor) -> Tensor:
        return _ACTIVATIONS[self.activation](x)

    def pool(self, x: Tensor) -> Tensor:
        """Half as many places a side."""
        return functional.avg_pool2d(x, 2) if self.mean else functional.max_pool2d(x, 2)


USUAL = Habit()
HABITS = tuple(Habit(*each) for each in product(_ACTIVATIONS, (False, True), (False, True)))
"""Every habit that people have, the most usual first."""


class Norming:
    """A batch norm in eval mode: one factor and one shift a channel.

    Where `met` is a list, every batch adds how far its channels' means and variances are from those of the training:
    the median over channels of the Kullback-Leibler divergence between two normal distributions, in nats.
    """

    def __init__(self, norm: Norm) -> None:
        channels = next(
            len(each) for each in (norm.gamma, norm.beta, norm.mean, norm.var) if each is not None
        )
        factor = norm.factor if norm.factor is not None else np.ones(channels)
        mean = np.zeros(channels) if norm.mean is None else norm.mean
        self.scale = tensor(factor)
        self.offset = tensor((0.0 if norm.beta is None else norm.beta) - mean * factor)
        self.mean, self.var = tensor(mean), tensor(np.ones(channels) if norm.var is None else norm.var)
        self.met: list[float] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.met is not None:
            self.met.append(self._away(x))
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return x * self.scale.view(shape) + self.offset.view(shape)

    def _away(self, x: Tensor) -> float:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        mean, var, seen = x.mean(dim=axes), x.var(dim=axes) + _TINY, self.var + _TINY
        return float(((seen / var).log() + (var + (mean - self.mean) ** 2) / seen - 1).median() / 2)


def convolution(layer: Layer, padding: int, habit: Habit) -> tuple[Forward, list[Norming]]:
    """A convolution with its norm and its activation, in the habit's order."""
    weight, bias = tensor(layer.weight), _optional(layer.bias)
    normed = [] if layer.norm_after is None else [Norming(layer.norm_after)]
    after: list[Forward] = [*normed, habit.activate]
    if habit.before_norm:
        after.reverse()

    def run(x: Tensor) -> Tensor:
        x = functional.conv2d(x, weight, bias, padding=padding)
        for step in after:
            x = step(x)
        return x

    return run, normed


def tail(linear: Sequence[Layer], habit: Habit = USUAL) -> Forward:
    """Linear layers with an activation between each two; a norm comes before it."""
    tensors = [(tensor(layer.weight), _optional(layer.bias), layer.norm_after) for layer in linear]
    norms = [None if norm is None else Norming(norm) for _, _, norm in tensors]

    def run(x: Tensor) -> Tensor:
        for place, ((weight, bias, _), norm) in enumerate(zip(tensors, norms, strict=True)):
            x = functional.linear(x, weight, bias)
            x = x if norm is None else norm(x)
            x = habit.activate(x) if place + 1 < len(tensors) else x
        return x

    return run


def postactivated(block: Block, centred: bool) -> tuple[Forward, list[Norming]]:
    """Convolution, norm, activation, twice, the sum before the last (He et al. 2016, section 4.2)."""
    one, two = tensor(block.first.weight), tensor(block.second.weight)
    norms = [Norming(norm) for norm in block.norms]
    around = _around(block, normed=True, centred=centred)

    def run(x: Tensor) -> Tensor:
        out = functional.relu(norms[0](functional.conv2d(x, one, stride=block.stride, padding=1)))
        return functional.relu(norms[1](functional.conv2d(out, two, padding=1)) + around(x))

    return run, norms


def preactivated(block: Block) -> tuple[Forward, list[Norming]]:
    """Norm, activation, convolution, twice, then the sum."""
    one, two = tensor(block.first.weight), tensor(block.second.weight)
    norms = [Norming(norm) for norm in block.norms]
    around = _around(block, normed=False, centred=True)

    def run(x: Tensor) -> Tensor:
        begun = functional.relu(norms[0](x))
        out = functional.relu(norms[1](functional.conv2d(begun, one, stride=block.stride, padding=1)))
        return functional.conv2d(out, two, padding=1) + (x if block.shortcut is None else around(begun))

    return run, norms


def _around(block: Block, *, normed: bool, centred: bool) -> Forward:
    """What leads around: nothing, a 1 x 1 convolution, or (He et al. 2016, option A) fewer pixels and more channels,
    the new ones on both sides of the old (`centred`) or behind them."""
    if block.shortcut is not None:
        weight, after = tensor(block.shortcut.weight), block.shortcut.norm_after
        norm = Norming(after) if normed and after is not None else None

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


def tensor(values: Any) -> Tensor:
    """A copy in single precision."""
    return torch.from_numpy(np.array(values, dtype=np.float32))


def _optional(values: Any) -> Tensor | None:
    return None if values is None else tensor(values)
