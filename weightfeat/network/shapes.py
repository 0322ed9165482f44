"""Layers of an unknown network, told apart and partnered by shape: a guess, and marked as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import numpy as np

from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import StoredTensor
from weightfeat.network.graph import Parts, depth_of
from weightfeat.network.grouping import Module, modules_of
from weightfeat.network.head import Head, doubt_of, find_head
from weightfeat.network.pairing import channels_of, norms_after
from weightfeat.network.types import Feed, Kind, Layer, Norm

_COLOURS = 3
_LISTED = 4


def from_shapes(
    tensors: Sequence[StoredTensor],
    counters: Mapping[str, int],
    *,
    ordered: bool,
    head_shape: tuple[int, ...] | None = None,
    head_name: str | None = None,
) -> Parts | str:
    """Layers in the given order, partnered by shape; a word on why where none of them can be the classification layer.

    Parameters
    ----------
    tensors : the numeric ones, in file order or, where there is none, in natural order of their names.
    counters : batches seen, by the name of a running variance.
    ordered : whether the order is the file's.
    head_shape : shape of the head's weight where it is known; the last layer of that shape is the head.
    head_name : what the head is called, or what its name ends with, where the user says so.
    """
    modules, extras = modules_of(tensors)
    norms = {place: _norm(module, counters) for place, module in enumerate(modules) if module.is_norm}
    places = [place for place, module in enumerate(modules) if module.is_layer]
    drafts = _layers([modules[place] for place in places])
    partners = norms_after(dict(zip(places, drafts, strict=True)), norms, ordered=ordered)
    layers = [
        replace(layer, norm_after=partners.get(place)) for place, layer in zip(places, drafts, strict=True)
    ]
    if head_name is not None:
        found = Head(_called(layers, head_name))
    elif head_shape is not None:
        found = Head(max(place for place, layer in enumerate(layers) if layer.weight.shape == head_shape))
    else:
        behind = [norms.get(place + 1) if ordered else None for place in places]
        normed = [_is_normed(layer, norm) for layer, norm in zip(layers, behind, strict=True)]
        found = find_head(layers, normed, ordered=ordered)
    if found.place is None:
        return _why(layers, found, head_name)
    layers[found.place], notes = _pooled(layers[found.place])
    head = layers[found.place]
    doubt = doubt_of(head, [(layers[place].name, len(layers[place].weight)) for place in found.rivals])
    notes += _passed(head, [layers[place] for place in found.passed])
    layers = _with_places(layers, found.place)
    feeds = _feeds(layers, found.place)
    return Parts(tuple(layers), found.place, feeds, tuple(norms.values()), tuple(extras), notes, doubt)


def _called(layers: Sequence[Layer], name: str) -> int | None:
    """The last layer of two outputs or more that is called so."""
    exact = [place for place, layer in enumerate(layers) if layer.name == name]
    ending = [place for place, layer in enumerate(layers) if layer.name.endswith(f".{name}")]
    fitting = [place for place in exact or ending if layers[place].weight.shape[0] > 1]
    return fitting[-1] if fitting else None


def _why(layers: Sequence[Layer], found: Head, head_name: str | None) -> str:
    """What to add where no layer is the classification layer."""
    if head_name is not None:
        names = [layer.name for layer in layers if layer.kind == "linear" and layer.weight.shape[0] > 1][
            -_LISTED:
        ]
        return f" is called {describe(head_name)}; its linear layers are {', '.join(map(describe, names)) or 'none'}"
    if found.passed:
        return f": {describe(layers[found.passed[-1]].name)} is, by its name, none"
    last = layers[-1] if layers else None
    if last is not None and last.kind == "linear" and last.weight.shape[0] == 1:
        return f": {describe(last.name)} has one output"
    return ""


def _pooled(head: Layer) -> tuple[Layer, tuple[str, ...]]:
    """A head that is a convolution of several positions in front of an average over the picture: but for the margin,
    the average of its outputs is what the sum of its positions makes of the average of its inputs."""
    if max(head.weight.shape[2:], default=1) == 1:
        return head, ()
    axes = tuple(range(2, head.weight.ndim))
    summed = head.weight.sum(axis=axes, keepdims=True, dtype=np.float32)
    return replace(head, weight=summed), (
        f"its head {describe(head.name)} is a convolution, read as pooled behind it",
    )


def _passed(head: Layer, passed: Sequence[Layer]) -> tuple[str, ...]:
    """What to say of layers whose names say that they are no heads."""
    names = ", ".join(describe(layer.name) for layer in passed[:_LISTED])
    return (f"{describe(head.name)} was taken for the head; {names} is, by its name, none",) if names else ()


def _is_normed(layer: Layer, behind: Norm | None) -> bool:
    """Whether a norm of any sort takes the layer's outputs, as no classification layer's are."""
    width = layer.weight.shape[0]
    return layer.norm_after is not None or (behind is not None and channels_of(behind) == width)


def _layers(modules: Sequence[Module]) -> list[Layer]:
    layers: list[Layer] = []
    widths: set[int] = set()
    dense: int | None = None
    for place, module in enumerate(modules):
        weight, bias = module.tensors["weight"].float32(), module.tensors.get("bias")
        owns_bias = bias is not None and bias.shape == weight.shape[:1]
        given = layers[-1].weight.shape[0] if layers else 0
        kind, groups = _kind_and_groups(module.name, weight.shape, owns_bias, given, widths)
        layer = Layer(
            name=module.name,
            kind=kind,
            role="body",
            weight=weight,
            bias=bias.float32() if bias is not None and owns_bias else None,
            groups=groups,
            depth=0.0,
        )
        fits = dense is not None and _takes(layer, layers[dense].weight.shape[0])
        layers.append(replace(layer, previous=dense if fits else None))
        widths.add(weight.shape[0])
        dense = dense if kind == "depthwise" else place
    return layers


def _kind_and_groups(
    name: str, shape: tuple[int, ...], has_bias: bool, given: int, widths: Set[int]
) -> tuple[Kind, int]:
    """Kind and groups by shape, by what the layer before gives and by the widths of all before.

    A convolution is grouped where it takes a fraction of what the layer before gives and no layer gives just
    that many; depthwise where the fraction is one channel.
    """
    if len(shape) == 2:
        return ("embedding" if "embed" in name.lower() and not has_bias else "linear"), 1
    if len(shape) > 5:
        return "other", 1
    of_an_image = shape[1] == _COLOURS or given <= shape[1]
    if of_an_image or given % shape[1] or shape[1] in widths:
        return "conv", 1
    groups = given // shape[1]
    # A 1 x 1 kernel on fewer channels reads one branch of several, a larger one may be ResNeXt's.
    if shape[0] % groups or (shape[1] > 1 and max(shape[2:]) == 1):
        return "conv", 1
    return ("depthwise" if shape[1] == 1 else "grouped"), groups


def _takes(layer: Layer, width: int) -> bool:
    """Whether a layer takes the outputs of one of this width."""
    return layer.kind not in ("embedding", "other") and layer.weight.shape[1] * layer.groups == width


def _norm(module: Module, counters: Mapping[str, int]) -> Norm:
    vectors = {role: tensor.float32() for role, tensor in module.tensors.items()}
    var = module.tensors.get("running_var")
    return Norm(
        name=module.name,
        gamma=vectors.get("weight"),
        beta=vectors.get("bias"),
        mean=vectors.get("running_mean"),
        var=vectors.get("running_var"),
        batches=None if var is None else counters.get(var.name),
    )


def _with_places(layers: Sequence[Layer], head: int) -> list[Layer]:
    """Layers with their roles and depths; the stem is the first convolution."""
    convolutions = (place for place, layer in enumerate(layers) if layer.kind == "conv" and place != head)
    stem = next(convolutions, None)
    return [
        replace(
            layer,
            role="head" if place == head else "stem" if place == stem else "body",
            depth=depth_of(place, head, len(layers)),
            pairing="none" if layer.norm_after is None and layer.previous is None else "shape",
        )
        for place, layer in enumerate(layers)
    ]


def _feeds(layers: Sequence[Layer], head: int) -> tuple[Feed, ...]:
    """The nearest layer before the head that gives as many channels as the head takes; none behind a flattening."""
    width = layers[head].weight.shape[1]
    sources = (
        place
        for place in reversed(range(head))
        if layers[place].kind != "embedding" and layers[place].weight.shape[0] == width
    )
    return tuple(Feed(place, 0, width) for place in sources)[:1]
