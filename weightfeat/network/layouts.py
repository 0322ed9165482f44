"""How a plain network of convolutions and linear layers is laid out, told from its shapes and names alone.

A weight file has neither strides nor paddings nor poolings. Of the ways in which people lay such a network out few
lead from an image of a usual side to as many inputs as its first linear layer has; these are the candidates, the most
usual first. Strides are 1 and poolings halve.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import isqrt

from weightfeat.network.types import Layer, Network

__all__ = ["Layout", "layouts", "parts", "perceptron_inputs"]

SIDES = (32, 28, 64, 48, 24, 20, 16, 96, 128, 40, 224)
"""Sides in pixels that small classifiers are trained at, the most usual first."""
_MOST_FREE = 4  # convolutions up to which any set of them may be pooled


@dataclass(frozen=True)
class Layout:
    """Side of the image in pixels, image channels; a convolution's zero padding, and whether a pooling follows it."""

    side: int
    channels: int
    padding: tuple[int, ...]
    pooled: tuple[bool, ...]


def parts(network: Network) -> tuple[list[Layer], list[Layer]] | None:
    """Convolutions and linear layers where they are one chain, each fed by the one before; None for any other."""
    convolutions = [layer for layer in network.layers if layer.kind == "conv"]
    linear = [layer for layer in network.layers if layer.kind == "linear"]
    chain = [*convolutions, *linear]
    if len(chain) != len(network.layers) or chain != list(network.layers) or not linear or not convolutions:
        return None
    if network.head != len(chain) - 1 or any(layer.weight.ndim != 4 for layer in convolutions):
        return None
    if not (_fed(convolutions) and _fed(linear)):
        return None
    square = all(layer.weight.shape[2] == layer.weight.shape[3] for layer in convolutions)
    return (convolutions, linear) if square else None


def _fed(layers: Sequence[Layer]) -> bool:
    """Whether each takes as many channels as the one before gives."""
    return all(len(before.weight) == after.weight.shape[1] for before, after in pairwise(layers))


def perceptron_inputs(network: Network) -> tuple[tuple[int, int], ...]:
    """Image channels and side of a network of linear layers alone, as far as its first one's width tells them; none for
    any other network."""
    layers = network.layers
    if any(layer.kind != "linear" for layer in layers) or network.head != len(layers) - 1:
        return ()
    if not _fed(layers):
        return ()
    width = layers[0].weight.shape[1]
    sides = {channels: isqrt(width // channels) for channels in (3, 1)}
    return tuple(
        (channels, side) for channels, side in sides.items() if side > 1 and side**2 * channels == width
    )


def layouts(network: Network) -> tuple[Layout, ...]:
    """The candidates, the most usual first; none where the network is no chain or no usual layout fits."""
    found = parts(network)
    if found is None:
        return ()
    convolutions, linear = found
    width, last = linear[0].weight.shape[1], len(convolutions[-1].weight)
    side = isqrt(width // last)
    if side * side * last != width:
        return ()
    channels = convolutions[0].weight.shape[1]
    kernels = [layer.weight.shape[2] for layer in convolutions]
    sides = (28, *[each for each in SIDES if each != 28]) if channels == 1 else SIDES
    fitting = [
        Layout(start, channels, padding, pooled)
        for start, pooled, padding in product(sides, _poolings(convolutions), _paddings(kernels))
        if _left(start, kernels, padding, pooled) == side
    ]
    return tuple(dict.fromkeys(fitting))


def _left(side: int, kernels: Sequence[int], padding: Sequence[int], pooled: Sequence[bool]) -> int:
    """The map's side after all convolutions; 0 where it does not reach so far."""
    for kernel, padded, halved in zip(kernels, padding, pooled, strict=True):
        side += 2 * padded - kernel + 1
        side //= 2 if halved else 1
        if side < 1:
            return 0
    return side


def _paddings(kernels: Sequence[int]) -> list[tuple[int, ...]]:
    """None at all; as much as keeps the side; in the first of a pair only, as Keras' example has it; in the first."""
    kept = tuple(kernel // 2 for kernel in kernels)
    none = (0,) * len(kernels)
    paired = tuple(padded if place % 2 == 0 else 0 for place, padded in enumerate(kept))
    first = (kept[0], *none[1:])
    small = all(kernel <= 3 for kernel in kernels)
    return [kept, none, paired, first] if small else [none, kept, first, paired]


def _poolings(convolutions: Sequence[Layer]) -> Iterator[tuple[bool, ...]]:
    """What names tell; before channels grow and at the end; after each; after every second; any, where few."""
    count = len(convolutions)
    if (told := _told(convolutions)) is not None:
        yield told
    growing = [len(after.weight) > len(before.weight) for before, after in pairwise(convolutions)]
    yield (*growing, True)
    yield (True,) * count
    if count % 2 == 0:
        yield (False, True) * (count // 2)
    if count <= _MOST_FREE:
        yield from sorted(product((False, True), repeat=count), key=lambda each: (-sum(each), not each[-1]))


def _told(convolutions: Sequence[Layer]) -> tuple[bool, ...] | None:
    """By the numbers of a torch Sequential: a convolution, its norm and its activation take a number each; what else
    lies before the next convolution holds a pooling. None where names are no such numbers."""
    split = [layer.name.rpartition(".") for layer in convolutions]
    if len({parent for parent, _, _ in split}) != 1 or not all(name.isdecimal() for _, _, name in split):
        return None
    at = [int(name) for _, _, name in split]
    used = [2 + (layer.norm_after is not None) for layer in convolutions]
    between = [after - before > taken for before, after, taken in zip(at, at[1:], used, strict=False)]
    return (*between, True)
