"""Checkpoint to Network: recognise the architecture or read the shapes, then refuse what cannot be analysed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.types import Checkpoint, Finding, StoredTensor
from weightfeat.errors import NotAClassifier, UnsupportedLayout
from weightfeat.network.graph import Parts, from_graph
from weightfeat.network.names import UNKNOWN
from weightfeat.network.recognition import Match, recognise, same_shapes
from weightfeat.network.relatives import relatives, resnet_kind
from weightfeat.network.shapes import from_shapes
from weightfeat.network.table import CLASSES
from weightfeat.network.tensors import batch_counters, natural_order, numeric
from weightfeat.network.types import Layer, Network

_LISTED = 3  # names an error lists before it counts the rest


def build(checkpoint: Checkpoint) -> Network:
    """The network a checkpoint holds, its weights still in the file where they are float32.

    The checkpoint's findings are carried over, this room's own behind them.

    Raises
    ------
    UnsupportedLayout : no floating-point tensor is there, or a weight is NaN or infinite.
    NotAClassifier : no layer can be the classification layer.
    """
    tensors = numeric(checkpoint)
    if not tensors:
        raise UnsupportedLayout(
            f"none of its {len(checkpoint.tensors)} tensors holds floating-point weights",
            where=checkpoint.path,
            expected="float16, bfloat16, float32 or float64 weights",
            remedy="save the trained network unquantized",
        )
    with np.errstate(
        over="ignore"
    ):  # a float64 past float32's range turns infinite, and is refused as such below
        match = recognise(tensors, ordered=checkpoint.ordered)
        network = _known(checkpoint, match) if match else _unknown(checkpoint, tensors)
    _refuse_non_finite(checkpoint, network)
    return network


def non_finite(network: Network) -> tuple[str, ...]:
    """Names of the layers and norms that hold a NaN or an infinity; one pass over the weights."""
    return tuple(name for name, arrays in _arrays(network) if not all(_is_finite(array) for array in arrays))


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
    )


def _refuse_non_finite(checkpoint: Checkpoint, network: Network) -> None:
    names = non_finite(network)
    if names:
        listed = ", ".join(names[:_LISTED])
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        raise UnsupportedLayout(
            f"NaN or infinite weights in {listed}{more}",
            where=checkpoint.path,
            expected="finite weights",
            remedy="give a checkpoint from before the training diverged",
        )


def _arrays(network: Network) -> Iterator[tuple[str, list[NDArray[np.float32]]]]:
    for layer in network.layers:
        yield layer.name, [array for array in (layer.weight, layer.bias) if array is not None]
    for norm in network.norms:
        vectors = (norm.gamma, norm.beta, norm.mean, norm.var)
        yield norm.name, [array for array in vectors if array is not None]


def _is_finite(array: NDArray[np.float32]) -> bool:
    """A finite sum proves it in one read; an infinite one may be the sum's own overflow, so it is looked into."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(np.sum(array))) or bool(np.isfinite(array).all())
