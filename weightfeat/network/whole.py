"""Whether what was read is a whole network: one that takes an image, with every part that its like has.

A part of a network has layers and something like a head, and could be scored as well as a whole one. What is refused
here lacks weights that could not be read, a first layer that takes an image, or a tensor that its like has (`missing`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isqrt

from weightfeat.checkpoint.joining import is_weight
from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.shards import part_of
from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.errors import NotAClassifier, UnsupportedLayout
from weightfeat.network.missing import cut_off, missing_of_known, missing_of_siblings
from weightfeat.network.tensors import is_part
from weightfeat.network.types import Layer, Network

_USUAL_CHANNELS = (1, 3, 4)
_WIDEST_STEM = 64
_MOST_CHANNELS = 13  # bands of a satellite's picture
_FEATURES = 32  # networks give features in multiples of it
_WHOLE = "give the whole trained classifier"


def refuse_unread(checkpoint: Checkpoint) -> None:
    """Refuse a network some of whose weights are in the file and could not be read. Raises UnsupportedLayout."""
    unread = [finding for finding in checkpoint.findings if finding.about]
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        raise UnsupportedLayout(
            f"{len(unread)} of its weights cannot be read: {unread[0].detail}{more}",
            where=checkpoint.path,
            expected="weights that can all be read",
            remedy="save the network's state_dict with plain tensors",
        )


def refuse_unfit(checkpoint: Checkpoint, unfit: Sequence[StoredTensor]) -> None:
    """Refuse a network some of whose weights are there in parts or numbers that no rule makes weights of.
    Raises UnsupportedLayout."""
    weights = [t for t in unfit if is_part(t.name, {other.name for other in unfit}) or is_weight(t.name)]
    if weights:
        more = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
        raise UnsupportedLayout(
            f"{len(weights)} of its weights are kept in a way that is not read: {describe(weights[0].name)} "
            f"({weights[0].dtype}){more}",
            where=checkpoint.path,
            expected="weights as the network computes with them",
            remedy="remove the pruning, weight norm or quantisation and save again",
        )


def refuse_part(checkpoint: Checkpoint, network: Network) -> None:
    """Refuse what is only a part of a network. Raises UnsupportedLayout for a tensor that is missing, NotAClassifier
    where no layer takes an image."""
    missing = missing_of_known(checkpoint.tensors) or missing_of_siblings(checkpoint.tensors)
    if missing is not None:
        raise UnsupportedLayout(
            f"it is {missing}{_by_name(checkpoint)}",
            where=checkpoint.path,
            expected="every tensor of the network",
            remedy=f"{_WHOLE}, no part of it",
        )
    what, cut = no_image(network), cut_off(network)
    if what is None and cut is not None:
        what = f"its last layer, {describe(cut)}, is none that classifies"
    if what is not None:
        raise NotAClassifier(
            f"it is a part of a network: {what}{_by_name(checkpoint)}",
            where=checkpoint.path,
            expected="a first layer that takes an image, and a last one that classifies it",
            remedy=f"{_WHOLE}, its first layers and its head included",
        )


def _by_name(checkpoint: Checkpoint) -> str:
    part = part_of(checkpoint.path)
    return "" if part is None else f" (by its name part {part}: give the folder or the index of all parts)"


def no_image(network: Network) -> str | None:
    """What the first layer takes where that is no image; None where it may be one.

    A convolution takes an image where it takes its colours, up to thirteen of them. Without convolutions, a linear
    layer takes it where its inputs are a square's pixels, in one colour or three, or no number that features come in.
    """
    head = network.layers[network.head]
    convolutions = [layer for layer in network.layers if layer.weight.ndim > 2 and layer.kind != "embedding"]
    if convolutions and convolutions != [head]:
        first = min(convolutions, key=lambda layer: layer.weight.shape[1] * layer.groups)
        channels = first.weight.shape[1] * first.groups
        later = _is_depthwise(first, convolutions) or _is_a_later_one(first)
        if channels <= _MOST_CHANNELS and not (later and (channels not in _USUAL_CHANNELS or channels == 1)):
            return None
        return f"the first of its convolutions, {describe(first.name)}, takes {channels} channels"
    first = next((layer for layer in network.layers if layer.kind != "embedding"), head)
    inputs = first.weight.shape[1]
    if may_be_either(network):
        return None
    if convolutions or (inputs % _FEATURES == 0 and not _is_picture(inputs)):
        alone = "its only layer" if len(network.layers) == 1 else "the first of its layers"
        return f"{alone}, {describe(first.name)}, takes {inputs} numbers"
    return None


def may_be_either(network: Network) -> int | None:
    """The inputs of several linear layers alone, where they are a square's pixels and a usual number of features as
    well (256, 1024, ...): a network for small grey pictures, or the head of a larger one. None elsewhere."""
    layers = [layer for layer in network.layers if layer.kind != "embedding"]
    inputs = layers[0].weight.shape[1] if layers and layers[0].weight.ndim > 1 else 0
    several = len(layers) > 1 and all(layer.weight.ndim == 2 for layer in layers)
    power = inputs > 0 and inputs & (inputs - 1) == 0
    return inputs if several and power and isqrt(inputs) ** 2 == inputs else None


def _is_a_later_one(layer: Layer) -> bool:
    """Whether a layer's own name counts it as the second or later of its sort ("conv2"). Keras counts all networks of a
    session on ("conv2d_3")."""
    if re.search(r"conv\dd_[0-9]+$", layer.name.lower()):
        return False
    number = re.search(r"(?<=[a-z_])([0-9]+)$", layer.name.rpartition(".")[2].lower())
    return number is not None and int(number[1]) > 1


def _is_depthwise(first: Layer, convolutions: Sequence[Layer]) -> bool:
    """Whether a layer that takes one channel rather takes many, one by one: it is wide, and one position follows it."""
    width, channels = first.weight.shape[:2]
    place = next(place for place, layer in enumerate(convolutions) if layer is first)
    follower = convolutions[place + 1].weight.shape if place + 1 < len(convolutions) else ()
    return channels == 1 and width > _WIDEST_STEM and follower[1:2] == (width,) and max(follower[2:]) == 1


def _is_picture(inputs: int) -> bool:
    """Whether so many numbers are a picture's; those of a power of two are rather a layer's features."""
    return inputs & (inputs - 1) != 0 and any(
        inputs % colours == 0 and isqrt(inputs // colours) ** 2 * colours == inputs for colours in (1, 3)
    )
