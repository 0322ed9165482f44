"""Checkpoint to Network: recognise the architecture or read the shapes, then refuse what cannot be analysed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from string import ascii_letters
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import Checkpoint, Finding, StoredTensor
from weightfeat.errors import HostileFile, NotAClassifier, UnsupportedLayout
from weightfeat.network.graph import Parts, from_graph
from weightfeat.network.names import UNKNOWN
from weightfeat.network.recognition import Match, clash, recognise, same_shapes
from weightfeat.network.relatives import relatives, resnet_kind
from weightfeat.network.shapes import from_shapes
from weightfeat.network.table import CLASSES
from weightfeat.network.tensors import LARGEST_CONSTANT, batch_counters, natural_order, numeric, unfit
from weightfeat.network.types import Layer, Network

_LISTED = 3  # names a line lists before it counts the rest
_MOST_TENSORS = 10_000  # ResNet-1202 has six thousand
_LARGEST_WEIGHT = 1e15  # the square of a larger one, summed over a layer, may pass float32's range


def build(checkpoint: Checkpoint) -> Network:
    """The network a checkpoint holds, its weights still in the file where they are float32.

    The checkpoint's findings are carried over, this room's own behind them.

    Raises
    ------
    UnsupportedLayout : no floating-point tensor is there, most elements belong to no layer, a weight is NaN, infinite
        or absurdly large, or a variance is negative.
    HostileFile : more tensors than any network has, or two for one place.
    NotAClassifier : no layer can be the classification layer.
    """
    tensors, others = numeric(checkpoint), [(tensor.name, tensor.data) for tensor in unfit(checkpoint)]
    elements = sum(tensor.data.size for tensor in tensors) + _elements(others)
    # Before a head is looked for, as it may be among them.
    _refuse_mostly_left_out(checkpoint, others, elements)
    if not tensors:
        raise UnsupportedLayout(
            f"none of its {len(checkpoint.tensors)} tensors holds floating-point weights",
            where=checkpoint.path,
            expected="float16, bfloat16, float32 or float64 weights",
            remedy="save the trained network unquantized",
        )
    _refuse_hostile(checkpoint, tensors)
    with np.errstate(
        over="ignore"
    ):  # a float64 past float32's range turns infinite, and is refused as such below
        match = recognise(tensors, ordered=checkpoint.ordered)
        network = _known(checkpoint, match) if match else _unknown(checkpoint, tensors)
    left_out = [*others, *(extra for extra in network.extras if extra[1].size > LARGEST_CONSTANT)]
    _refuse_mostly_left_out(checkpoint, left_out, elements)
    _refuse_impossible(checkpoint, network)
    note = Finding("note", _left_out(left_out))
    return replace(network, findings=(*network.findings, note)) if left_out else network


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


def _elements(named: Iterable[tuple[str, NDArray[Any]]]) -> int:
    return sum(array.size for _, array in named)


def _left_out(named: Sequence[tuple[str, NDArray[Any]]]) -> str:
    names = _listed([describe(name) for name, _ in named])
    return f"{len(named)} tensors with {_elements(named):,} elements belong to no layer analysed: {names}"


def _refuse_mostly_left_out(
    checkpoint: Checkpoint, named: Sequence[tuple[str, NDArray[Any]]], elements: int
) -> None:
    if 2 * _elements(named) > elements:
        raise UnsupportedLayout(
            f"{_left_out(named)}, of {elements:,} in the file",
            where=checkpoint.path,
            expected="plain floating-point weights",
            remedy="remove the pruning, weight norm or quantisation and save again",
        )


def _refuse_hostile(checkpoint: Checkpoint, tensors: Sequence[StoredTensor]) -> None:
    what = None
    if len(tensors) > _MOST_TENSORS:
        what = f"its network has {len(tensors):,} tensors"
    elif (name := clash(tensors)) is not None:
        what = f"two of its tensors are called {describe(name)}, one by an older name"
    if what is not None:
        raise HostileFile(
            what,
            where=checkpoint.path,
            expected=f"at most {_MOST_TENSORS:,} tensors, one in each place of the network",
            remedy="do not load this file; get it from a source you trust",
        )


def _refuse_impossible(checkpoint: Checkpoint, network: Network) -> None:
    """Refuse numbers no training that went well leaves behind, and no statistic can be computed from."""
    reaches = _reaches(network)
    endless = [name for name, reach in reaches if reach == np.inf]
    large = [name for name, reach in reaches if reach > _LARGEST_WEIGHT]
    negative = [norm.name for norm in network.norms if norm.var is not None and norm.var.min(initial=0) < 0]
    for names, what, expected in (
        (endless, "NaN or infinite weights", "finite weights"),
        (large, f"weights larger than {_LARGEST_WEIGHT:.0e}", "weights that can be computed with"),
        (negative, "running variances below zero", "variances of zero or more"),
    ):
        if names:
            raise UnsupportedLayout(
                f"{what} in {_listed(names)}",
                where=checkpoint.path,
                expected=expected,
                remedy="give a checkpoint from before the training diverged",
            )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _reaches(network: Network) -> list[tuple[str, float]]:
    """An upper bound on the absolute values of each layer and norm, infinite where one of them is NaN or infinite."""
    return [(name, max(map(_reach, arrays), default=0.0)) for name, arrays in _arrays(network)]


def _reach(array: NDArray[np.float32]) -> float:
    axes = ascii_letters[: array.ndim]
    with np.errstate(all="ignore"):
        squares = float(np.einsum(f"{axes},{axes}->", array, array))
    if squares <= _LARGEST_WEIGHT**2:  # one read instead of two, and no value is larger than this root
        return float(np.sqrt(squares))
    reach = max(-float(array.min(initial=0)), float(array.max(initial=0)))
    return np.inf if np.isnan(reach) else reach


def _arrays(network: Network) -> Iterator[tuple[str, list[NDArray[np.float32]]]]:
    for layer in network.layers:
        yield layer.name, [array for array in (layer.weight, layer.bias) if array is not None]
    for norm in network.norms:
        vectors = (norm.gamma, norm.beta, norm.mean, norm.var)
        yield norm.name, [array for array in vectors if array is not None]
