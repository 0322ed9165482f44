"""Finds an unknown network's classification layer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from weightfeat.checkpoint.nodes import describe
from weightfeat.network.types import Layer

# Modules whose outputs are no classes of the network's, whatever their shape: heads that train another one, the six
# numbers of a spatial transformer, features to be compared with others.
_ASIDE = re.compile(
    r"(^|[._])(aux\w*|side_?(out|head)\w*|stn\w*|(fc_?)?loc(al\w*|ator)?|theta|affine|spatial_transf\w*"
    r"|proj(ection|ector)?(_?(head|mlp|net))?[0-9]*|predictor|embed(ding|der)?s?(_?(head|layer|fc))?|decoder"
    r"|discriminator|domain\w*|(fc|head)_?rot\w*|rot(ation|net)?_\w*|contrast\w*|simclr\w*|prototypes?|queue"
    r"|criterion|loss\w*)([._]|$)",
    re.IGNORECASE,
)
_LISTED = 4
_MOST_SPLIT = 4  # vectors that a layer gives at once: a gated recurrent cell's are four
_NUMBER = re.compile(r"[0-9]+")
_USUAL = re.compile(r"^(fc|classifier|head|logits?|cls|output|linear|last_linear|predictions?|dense)$")


@dataclass(frozen=True)
class Head:
    """Place of the classification layer, of others that may answer in its place, and of those passed over."""

    place: int | None
    rivals: tuple[int, ...] = ()
    passed: tuple[int, ...] = ()


def find_head(layers: Sequence[Layer], normed: Sequence[bool], *, ordered: bool) -> Head:
    """The last linear layer that nothing else reads, else the last 1 x 1 convolution of that sort, else a last
    convolution of any kernel that narrows to a number of its own.

    Where the file keeps an order, only its last linear layer and its last layer are looked at; where it keeps
    none, all are, from the last in order of names. Layers are passed over whose names say that they answer another
    question. Of several that read the same features the one with the customary name is taken, else the one with most
    outputs, else the last.

    Parameters
    ----------
    layers : every layer of the network.
    normed : whether a norm takes the layer's outputs: those are features, not logits.
    ordered : whether the layers are in the order of the file, not of their names.
    """
    places = [place for place in range(len(layers)) if not is_aside(layers[place].name)]
    linear = [place for place in places if layers[place].kind == "linear"]
    last = places[-1:] if ordered else places
    kernels = [place for place in last if layers[place].kind == "conv"]
    readers = _readers(layers, ordered=ordered)
    narrowest = list(accumulate((layer.weight.shape[0] for layer in layers), min))

    some_normed = any(normed)

    def is_head(place: int) -> bool:
        layer = layers[place]
        # Beside norms, which shift what they take, a convolution without a bias is one whose norm is missing.
        cut = layer.kind != "linear" and layer.bias is None and some_normed
        return (
            not (normed[place] or cut)
            and _classifies(layers[place], place, readers)
            and not _reconstructs(layers, place, narrowest)
        )

    pointwise = [place for place in kernels if max(layers[place].weight.shape[2:]) == 1]
    candidates = [*pointwise, *(linear[-1:] if ordered else linear)]
    found = next((place for place in reversed(candidates) if is_head(place)), None)
    if found is None:
        wide = (place for place in reversed(kernels) if place not in pointwise and _narrows(layers, place))
        found = next((place for place in wide if is_head(place)), None)
    kept, after = set(places), -1 if found is None else found
    passed = tuple(
        place
        for place in range(after + 1, len(layers))
        if place not in kept and layers[place].kind in ("linear", "conv") and is_head(place)
    )
    if found is None:
        return Head(None, passed=passed)
    alike = [
        place
        for place in linear
        if place != found and _are_alike(layers[place], layers[found]) and is_head(place)
    ]
    chosen = max([found, *alike], key=lambda place: _rank(layers, place))
    repeated = _repeated(layers)
    rivals = tuple(
        place
        for place in places
        if place != chosen
        and _pattern(layers[place].name) not in repeated - {_pattern(layers[chosen].name)}
        and layers[place].kind in ("linear", "conv")
        and may_answer_too(layers[place].name, layers[place].weight.shape, layers[chosen].weight.shape)
        and is_head(place)
        and not _is_split(layers, place)
    )
    return Head(chosen, rivals, passed)


def is_aside(name: str) -> bool:
    """Whether a layer's name says that it answers another question than the network's."""
    return _ASIDE.search(name) is not None


def may_answer_too(name: str, shape: Sequence[int], head: Sequence[int]) -> bool:
    """Whether a layer that nothing reads may be meant as well as the head: it reads as many features, or tells as many
    classes apart, or has a customary name, and no name that says otherwise. Shapes are (outputs, inputs, ...)."""
    usual = _USUAL.match(name.rpartition(".")[2].lower()) is not None
    pointwise = max(shape[2:], default=1) == 1
    alike = shape[0] == head[0] or (pointwise and (shape[1] == head[1] or usual))
    return shape[0] > 1 and alike and not is_aside(name)


def heads_beside(extras: Sequence[tuple[str, Sequence[int]]], features: int) -> list[tuple[str, int]]:
    """The heads that names and shapes beside a network make: (name, outputs) of layers that nothing among them reads,
    of one layer or several on the features that the network's own head takes."""
    layers = [(name, shape) for name, shape in extras if not is_aside(name)]
    widths, found = {features}, -1
    while found < len(widths):
        found = len(widths)
        widths |= {shape[0] for _, shape in layers if shape[1] in widths}
    taken = {shape[1] for _, shape in layers}
    return [(name, shape[0]) for name, shape in layers if shape[1] in widths and shape[0] not in taken - {1}]


def doubt_of(head: Layer, rivals: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """What to say where other layers, (name, outputs), may answer in the head's place; nothing where there are none."""
    rivals = [(name, outputs) for name, outputs in rivals if outputs > 1]
    if not rivals:
        return ()
    others = ", ".join(f"{describe(name)} ({outputs})" for name, outputs in rivals[:_LISTED])
    more = ", ..." if len(rivals) > _LISTED else ""
    taken = f"{describe(head.name)} with {len(head.weight)} classes was taken for the head"
    return (f"{taken}, and nothing in the file says that {others}{more} is none; --head takes the one named",)


def _pattern(name: str) -> str:
    return _NUMBER.sub("#", name)


def _repeated(layers: Sequence[Layer]) -> frozenset[str]:
    """Names, numbers masked, of layers within blocks that a network has several of: its body, whatever they give."""
    counts = Counter(_pattern(layer.name) for layer in layers)
    return frozenset(name for name, count in counts.items() if count > 1 and "#." in name)


def _is_split(layers: Sequence[Layer], place: int) -> bool:
    """Whether a layer's outputs are several vectors for another one in its module, which brings them back to what the
    layer took: queries, keys and values, or a hidden layer and its gate."""
    (width, taken), parent = layers[place].weight.shape[:2], layers[place].name.rpartition(".")[0]
    readers = [layer.weight.shape for layer in layers if layer.name.rpartition(".")[0] == parent]
    return any(
        given == taken and 0 < inputs < width <= _MOST_SPLIT * inputs and width % inputs == 0
        for given, inputs, *_ in readers
    )


def _rank(layers: Sequence[Layer], place: int) -> tuple[bool, int, int]:
    usual = any(_USUAL.match(part) for part in layers[place].name.lower().split("."))
    return usual, layers[place].weight.shape[0], place


def _are_alike(one: Layer, other: Layer) -> bool:
    """Whether two layers read the same number of features and have names that differ in one part."""
    first, second = one.name.split("."), other.name.split(".")
    return (
        one.weight.shape[1:] == other.weight.shape[1:]
        and len(first) == len(second)
        and sum(a != b for a, b in zip(first, second, strict=True)) == 1
        and not (first[0] == second[0] and len(first) > 2)
    )


def _narrows(layers: Sequence[Layer], place: int) -> bool:
    """Whether a convolution gives fewer channels than it takes, as many as no other layer gives."""
    width, taken = layers[place].weight.shape[:2]
    others = {layer.weight.shape[0] for other, layer in enumerate(layers) if other != place}
    return place > 0 and width < taken and width not in others


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
    if width < 2:
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
