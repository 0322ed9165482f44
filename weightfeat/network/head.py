"""Finds an unknown network's classification layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from weightfeat.network.types import Layer


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
    readers = _readers(layers, ordered=ordered)
    narrowest = list(accumulate((layer.weight.shape[0] for layer in layers), min))
    return next(
        (
            place
            for place in reversed(candidates)
            if not normed[place]
            and _classifies(layers[place], place, readers)
            and not _reconstructs(layers, place, narrowest)
        ),
        None,
    )


@dataclass(frozen=True)
class _Readers:
    """Where layers lie that may take a layer's outputs, by how many they take.

    `last` is the last of all, `linear` the first linear one, `unfolding` the last that may be a decoder's transposed
    kernel (inputs first) on outputs folded into maps.
    """

    last: dict[int, int]
    linear: dict[int, int]
    unfolding: dict[int, int]


def _readers(layers: Sequence[Layer], *, ordered: bool) -> _Readers:
    taking = [place for place, layer in enumerate(layers) if layer.kind not in ("embedding", "other")]
    # Names may put a network's later layers first, so without an order the earlier ones count too; but not their
    # convolutions, some of which take as many channels as there are classes by chance.
    linear = [] if ordered else [place for place in reversed(taking) if layers[place].kind == "linear"]
    shapes = [layer.weight.shape for layer in layers]
    unfolding = {s[0]: place for place, s in enumerate(shapes) if s[0] > 1 and max(s[2:], default=1) > 1}
    return _Readers(_by_inputs(layers, taking), _by_inputs(layers, linear), unfolding)


def _by_inputs(layers: Sequence[Layer], places: Iterable[int]) -> dict[int, int]:
    """The last of the places with each number of inputs."""
    return {layers[place].weight.shape[1] * layers[place].groups: place for place in places}


def _classifies(layer: Layer, place: int, readers: _Readers) -> bool:
    width = layer.weight.shape[0]
    if width < 2 or max(layer.weight.shape[2:], default=1) > 1:
        return False
    read = readers.last.get(width, place) > place
    read_before = layer.kind == "linear" and readers.linear.get(width, place) < place
    unfolded = any(last > place and width % inputs == 0 for inputs, last in readers.unfolding.items())
    return not read and not read_before and not unfolded


def _reconstructs(layers: Sequence[Layer], place: int, narrowest: Sequence[int]) -> bool:
    """An autoencoder's last layer gives what the first took: past a narrower one, or, in maps, as its mirror."""
    first, last = layers[0].weight.shape, layers[place].weight.shape
    if place == 0 or first[1] != last[0]:
        return False
    if len(first) > 2 or len(last) > 2:
        return len(first) == len(last) and last[1] <= first[0]
    return bool(narrowest[place - 1] < last[0])
