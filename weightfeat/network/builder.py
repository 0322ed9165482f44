"""Checkpoint to Network: recognise the architecture or read the shapes, then refuse what cannot be analysed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from weightfeat.checkpoint.types import Checkpoint, Finding, StoredTensor
from weightfeat.errors import NotAClassifier, UnsupportedLayout
from weightfeat.network.graph import Parts, from_graph
from weightfeat.network.names import UNKNOWN
from weightfeat.network.recognition import Match, recognise, same_shapes
from weightfeat.network.refusals import (
    elements_of,
    left_out,
    refuse_hostile,
    refuse_impossible,
    refuse_large_head,
    refuse_mostly_left_out,
)
from weightfeat.network.relatives import relatives, resnet_kind
from weightfeat.network.shapes import from_shapes
from weightfeat.network.table import CLASSES
from weightfeat.network.tensors import LARGEST_CONSTANT, batch_counters, natural_order, numeric, unfit
from weightfeat.network.types import Layer, Network

_SAMPLE = 1000  # weights of a layer looked at
_FEW_ZEROS = 0.1  # share of exact zeros that trained weights stay far below


def build(checkpoint: Checkpoint) -> Network:
    """The network a checkpoint holds, its weights still in the file where they are float32.

    The checkpoint's findings are carried over, this room's own behind them.

    Raises
    ------
    UnsupportedLayout : no floating-point tensor is there, most elements belong to no layer, the classification layer is
        too large, a weight is NaN, infinite or absurdly large, or a variance is negative.
    HostileFile : more tensors than any network has, or two for one place.
    NotAClassifier : no layer can be the classification layer.
    """
    tensors, others = numeric(checkpoint), [(tensor.name, tensor.data) for tensor in unfit(checkpoint)]
    elements = sum(tensor.data.size for tensor in tensors) + elements_of(others)
    # Before a head is looked for, as it may be among them.
    refuse_mostly_left_out(checkpoint, others, elements)
    if not tensors:
        raise UnsupportedLayout(
            f"none of its {len(checkpoint.tensors)} tensors holds floating-point weights",
            where=checkpoint.path,
            expected="float16, bfloat16, float32 or float64 weights",
            remedy="save the trained network unquantized",
        )
    refuse_hostile(checkpoint, tensors)
    with np.errstate(
        over="ignore"
    ):  # a float64 past float32's range turns infinite, and is refused as such below
        match = recognise(tensors, ordered=checkpoint.ordered)
        network = _known(checkpoint, match) if match else _unknown(checkpoint, tensors)
    outside = [*others, *(extra for extra in network.extras if extra[1].size > LARGEST_CONSTANT)]
    refuse_mostly_left_out(checkpoint, outside, elements)
    refuse_large_head(checkpoint, network)
    refuse_impossible(checkpoint, network)
    notes = [*_pruned(network), *([left_out(outside)] if outside else [])]
    return replace(network, findings=(*network.findings, *(Finding("note", note) for note in notes)))


def _pruned(network: Network) -> list[str]:
    """What to say where many weights are exactly zero, as a random sample of each layer's tells."""
    zeros, weights, generator = 0.0, 0, np.random.default_rng(0)
    for layer in network.layers:
        places = generator.integers(layer.weight.size, size=min(layer.weight.size, _SAMPLE))
        zeros += layer.weight.size * float(np.mean(layer.weight.flat[places] == 0))
        weights += layer.weight.size
    share = zeros / max(weights, 1)
    pruned = _FEW_ZEROS < share < 1
    return [f"about {share:.0%} of its weights are exactly zero, as pruning leaves them"] if pruned else []


def fingerprint_of(layers: tuple[Layer, ...], head: int) -> str:
    """16 hexadecimal digits that stand for the ordered kinds and shapes, whatever the class count."""
    described = "".join(
        f"{layer.kind} {(CLASSES, *layer.weight.shape[1:]) if place == head else layer.weight.shape}\n"
        for place, layer in enumerate(layers)
    )
    return hashlib.sha256(described.encode("ascii")).hexdigest()[:16]


def _known(checkpoint: Checkpoint, match: Match) -> Network:
    parts = from_graph(match, batch_counters(checkpoint))
    entry, notes = match.entry, []
    if entry.aux:
        notes.append(f"auxiliary heads {', '.join(entry.aux)} are not analysed")
    if match.exact:
        return _network(checkpoint, parts, entry.architecture, entry.family, notes)
    family = resnet_kind(parts.layers) if entry.family in ("resnet", "wide_resnet") else entry.family
    notes.append(f"a variant of {family}: torchvision's names and wiring, other shapes")
    return _network(checkpoint, parts, family, family, notes)


def _unknown(checkpoint: Checkpoint, tensors: tuple[StoredTensor, ...]) -> Network:
    placed = tensors if checkpoint.ordered else natural_order(tensors)
    same = same_shapes(tensors)
    head_shape = same[1] if same else None
    parts = from_shapes(placed, batch_counters(checkpoint), ordered=checkpoint.ordered, head_shape=head_shape)
    if parts is None:
        raise NotAClassifier(
            f"no classification layer among its {len(tensors)} tensors",
            where=checkpoint.path,
            expected="a last linear layer or 1 x 1 convolution with an output for each of two classes or more",
            remedy="give the whole trained classifier, head included",
        )
    if same:
        entry, _ = same
        note = f"shapes of {entry.architecture} in another order: partners guessed by shape"
        return _network(checkpoint, parts, entry.architecture, entry.family, [note])
    family = relatives(parts.layers)
    what = "architecture" if family == UNKNOWN else f"{family} variant"
    return _network(
        checkpoint, parts, family, family, [f"unknown {what}: layers and partners read from shapes"]
    )


KERAS = "keras"
"""What the formats of Keras are called begins so: it flattens a map place by place."""


def _network(
    checkpoint: Checkpoint, parts: Parts, architecture: str, family: str, notes: list[str]
) -> Network:
    return Network(
        layers=parts.layers,
        head=parts.head,
        head_feeds=parts.feeds,
        norms=parts.norms,
        architecture=architecture,
        family=family,
        fingerprint=fingerprint_of(parts.layers, parts.head),
        num_classes=parts.layers[parts.head].weight.shape[0],
        findings=(*checkpoint.findings, *(Finding("note", note) for note in notes)),
        extras=tuple((tensor.name, tensor.data) for tensor in parts.extras),
        channels_last=checkpoint.format.startswith(KERAS),
    )
