"""Finds an unknown network's classification layer."""

from __future__ import annotations

from collections.abc import Sequence

from weightfeat.network.types import Layer

MAX_CLASSES = 100_000


def find_head(layers: Sequence[Layer], normed: Sequence[bool], *, ordered: bool) -> int | None:
    """The last linear layer that nothing else reads, else the last 1 x 1 convolution of that sort, else None.

    Where the file keeps an order, only its last linear layer and its last layer are looked at; where it keeps
    none, all are, from the last in order of names.

    Parameters
    ----------
    layers : every layer of the network.
    normed : whether a norm takes the layer's outputs: those are features, not logits.
    ordered : whether the layers are in the order of the file, not of their names.
    """
    places = range(len(layers))
    linear = [place for place in places if layers[place].kind == "linear"]
    pointwise = [place for place in places if layers[place].kind == "conv"]
    if ordered:
        linear, pointwise = linear[-1:], [place for place in pointwise if place == len(layers) - 1]
    candidates = [*pointwise, *linear]
    return next(
        (
            place
            for place in reversed(candidates)
            if not normed[place] and _classifies(layers, place, ordered)
        ),
        None,
    )


def _classifies(layers: Sequence[Layer], place: int, ordered: bool) -> bool:
    layer, later = layers[place], layers[place + 1 :]
    if not 2 <= layer.weight.shape[0] <= MAX_CLASSES or max(layer.weight.shape[2:], default=1) > 1:
        return False
    # Names may put a network's later layers first, so without an order the earlier ones count too; but not their
    # convolutions, some of which take as many channels as there are classes by chance.
    earlier = [] if ordered else [other for other in layers[:place] if other.kind == layer.kind == "linear"]
    read = any(_reads(other, layer) for other in (*earlier, *later))
    unfolded = any(_unfolds(other, layer) for other in later)
    return not read and not unfolded and not _reconstructs(layers, place)


def _reads(other: Layer, layer: Layer) -> bool:
    """Whether `other` takes as many inputs as `layer` gives."""
    takes = other.weight.shape[1] * other.groups
    return other.kind not in ("embedding", "other") and takes == layer.weight.shape[0]


def _unfolds(other: Layer, layer: Layer) -> bool:
    """Whether `other` may be a decoder's transposed kernel (inputs first) on `layer`'s outputs folded into maps."""
    kernel = other.weight.shape
    return (
        len(kernel) > 2 and max(kernel[2:]) > 1 and kernel[0] > 1 and layer.weight.shape[0] % kernel[0] == 0
    )


def _reconstructs(layers: Sequence[Layer], place: int) -> bool:
    """An autoencoder's last layer gives what the first took: past a narrower one, or, in maps, as its mirror."""
    first, last = layers[0].weight.shape, layers[place].weight.shape
    if place == 0 or first[1] != last[0]:
        return False
    if len(first) > 2 or len(last) > 2:
        return len(first) == len(last) and last[1] <= first[0]
    narrowest = min(layer.weight.shape[0] for layer in layers[:place])
    return bool(narrowest < last[0])
