"""Layers of an unknown network, told apart and partnered by shape: a guess, and marked as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from weightfeat.checkpoint.types import StoredTensor
from weightfeat.network.graph import Parts, depth_of
from weightfeat.network.grouping import Module, modules_of
from weightfeat.network.head import find_head
from weightfeat.network.pairing import channels_of, norms_after
from weightfeat.network.types import Feed, Kind, Layer, Norm

_COLOURS = 3


def from_shapes(
    tensors: Sequence[StoredTensor],
    counters: Mapping[str, int],
    *,
    ordered: bool,
    head_shape: tuple[int, ...] | None = None,
) -> Parts | None:
    """Layers in the given order, partnered by shape; None where none of them can be the classification layer.

    Parameters
    ----------
    tensors : the numeric ones, in file order or, where there is none, in natural order of their names.
    counters : batches seen, by the name of a running variance.
    ordered : whether the order is the file's.
    head_shape : shape of the head's weight where it is known; the last layer of that shape is the head.
    """
    modules, extras = modules_of(tensors)
    norms = {place: _norm(module, counters) for place, module in enumerate(modules) if module.is_norm}
    places = [place for place, module in enumerate(modules) if module.is_layer]
    drafts = _layers([modules[place] for place in places])
    partners = norms_after(dict(zip(places, drafts, strict=True)), norms, ordered=ordered)
    layers = [
        replace(layer, norm_after=partners.get(place)) for place, layer in zip(places, drafts, strict=True)
    ]
    if head_shape is None:
        behind = [norms.get(place + 1) if ordered else None for place in places]
        normed = [_is_normed(layer, norm) for layer, norm in zip(layers, behind, strict=True)]
        head = find_head(layers, normed, ordered=ordered)
    else:
        head = max(place for place, layer in enumerate(layers) if layer.weight.shape == head_shape)
    if head is None:
        return None
    layers = _with_places(layers, head)
    return Parts(tuple(layers), head, _feeds(layers, head), tuple(norms.values()), tuple(extras))


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
