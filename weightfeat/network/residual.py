"""Residual networks of CIFAR's kind (He et al. 2016, section 4.2, and their pre-activated sort), told from shapes and
names: a stem of 3 x 3, blocks of two such convolutions, a mean over places, a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weightfeat.network.types import Layer, Network, Norm

__all__ = ["Block", "residual_blocks"]


@dataclass(frozen=True, eq=False)
class Block:
    """Two convolutions and what leads around them; `norms` are theirs, in the order they are met."""

    first: Layer
    second: Layer
    shortcut: Layer | None
    norms: tuple[Norm, Norm]
    stride: int


def residual_blocks(network: Network) -> tuple[Layer, Sequence[Block], bool] | None:
    """The stem, the blocks and whether norms come before convolutions; None where it is no such network."""
    convolutions = [layer for layer in network.layers if layer.kind == "conv"]
    head = network.layers[network.head]
    if (
        len(convolutions) < 5
        or len(convolutions) != len(network.layers) - 1
        or network.layers[-1] is not head
    ):
        return None
    stem, *rest = convolutions
    if stem.weight.shape[2:] != (3, 3) or not network.norms:
        return None
    grouped: dict[str, list[Layer]] = {}
    for layer in rest:
        grouped.setdefault(_parent(layer), []).append(layer)
    before = network.norms[0].name.rpartition(".")[0] in grouped
    blocks: list[Block] = []
    width = len(stem.weight)
    for parent, members in grouped.items():
        block = _block(network, parent, members, width, first=not blocks)
        if block is None:
            return None
        blocks.append(block)
        width = len(block.second.weight)
    return (stem, blocks, before) if width == head.weight.shape[1] else None


def _parent(layer: Layer) -> str:
    """The block a layer lies in; a shortcut of its own module lies in its parent's."""
    parts = layer.name.split(".")
    while (
        parts
        and (parts[-1].isdecimal() or parts[-1] in ("shortcut", "downsample", "conv"))
        and len(parts) > 2
    ):
        if parts[-1].isdecimal() and parts[-2] not in ("shortcut", "downsample", "left", "residual"):
            break
        parts.pop()
    return ".".join(parts[:-1] if layer.name == ".".join(parts) else parts)


def _block(network: Network, parent: str, members: list[Layer], width: int, *, first: bool) -> Block | None:
    main = [layer for layer in members if layer.weight.shape[2:] == (3, 3)]
    around = [layer for layer in members if layer.weight.shape[2:] == (1, 1)]
    if len(main) != 2 or len(around) > 1 or len(main) + len(around) != len(members):
        return None
    one, two = main
    if one.weight.shape[1] != width or two.weight.shape[1] != len(one.weight):
        return None
    own = [norm for norm in network.norms if norm.name.startswith(f"{parent}.")]
    kept = [
        norm
        for norm in own
        if not around or not norm.name.startswith(around[0].name.rpartition(".")[0] + ".")
    ]
    norms = kept if len(kept) == 2 else own[:2]
    if len(norms) != 2:
        return None
    stride = 2 if len(two.weight) > width and not first else 1
    return Block(one, two, around[0] if around else None, (norms[0], norms[1]), stride)
