"""Checkpoint to Network: recognise the architecture or read the shapes, then refuse what cannot be analysed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import Checkpoint, Finding, StoredTensor
from weightfeat.errors import NotAClassifier, UnsupportedLayout
from weightfeat.network.adapters import without_adapters
from weightfeat.network.beside import counterparts, is_constant
from weightfeat.network.composing import composed
from weightfeat.network.doubts import folded_norms
from weightfeat.network.graph import Parts, from_graph
from weightfeat.network.missing import missing_of_known
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
from weightfeat.network.several import one_of_several
from weightfeat.network.shapes import from_shapes
from weightfeat.network.table import CLASSES
from weightfeat.network.tensors import batch_counters, natural_order, numeric, unfit
from weightfeat.network.types import Layer, Network
from weightfeat.network.whole import refuse_part, refuse_unfit, refuse_unread

_SAMPLE = 1000  # weights of a layer looked at
_FEW_ZEROS = 0.1  # share of exact zeros that trained weights stay far below


def build(checkpoint: Checkpoint, *, head: str | None = None) -> Network:
    """The network a checkpoint holds, its weights still in the file where they are float32.

    Weights kept as parts are composed, and of two networks under one roof one is taken. The checkpoint's findings are
    carried over, this room's own behind them; one of kind "doubt" says why what was read may not be what computes.

    Parameters
    ----------
    head : what the classification layer is called, or what its name ends with; None: the one that shapes, names and
        order tell, which is said where there was a choice.

    Raises
    ------
    UnsupportedLayout : no floating-point tensor is there, most elements belong to no layer, a weight is missing or
        could not be read, an adapter is not merged, the classification layer is too large, a weight is NaN, infinite or
        absurdly large, or a variance is negative.
    HostileFile : more tensors than any network has, or two for one place.
    NotAClassifier : no layer can be the classification layer, or none takes an image.

    >>> build(read(Path("two_tasks.pt")), head="fc_age").num_classes  # doctest: +SKIP
    8
    """
    checkpoint, notes = _prepared(checkpoint)
    tensors, others = numeric(checkpoint), [(tensor.name, tensor.data) for tensor in unfit(checkpoint)]
    elements = sum(tensor.data.size for tensor in tensors) + elements_of(others)
    # Before a head is looked for, as it may be among them.
    refuse_mostly_left_out(checkpoint, others, elements)
    if not tensors:
        refuse_unread(checkpoint)
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
        if match and head is not None and not _is_head_of(match, head):
            match = None
        network = _known(checkpoint, match, head) if match else _unknown(checkpoint, tensors, head)
    outside = [
        *others,
        *(extra for extra in network.extras if not is_constant(StoredTensor(extra[0], "", extra[1]))),
    ]
    refuse_mostly_left_out(checkpoint, outside, elements)
    refuse_large_head(checkpoint, network)
    refuse_impossible(checkpoint, network)
    # All shapes of a known network make a whole one, whatever their order says of which layer is the first.
    if (match is None or not match.exact) and same_shapes(tensors) is None:
        refuse_part(checkpoint, network)
    notes += [*_pruned(network), *([left_out(outside)] if outside else [])]
    found = [*(Finding("note", note) for note in notes), *_computed_with_two(tensors, outside)]
    return replace(network, findings=(*network.findings, *found))


def _computed_with_two(
    tensors: Sequence[StoredTensor], outside: Iterable[tuple[str, NDArray[Any]]]
) -> list[Finding]:
    """A doubt where what was left out may be a part of weights that were not."""
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    twice = counterparts(((name, data.shape) for name, data in outside), shapes)
    if not twice:
        return []
    more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
    return [Finding("doubt", f"the network may add {describe(twice[0])}{more} to weights of that name")]


def _prepared(checkpoint: Checkpoint) -> tuple[Checkpoint, list[str]]:
    """The checkpoint of one network in weights that it computes with, and what to say of how it became that."""
    plain, adapted = without_adapters(checkpoint)
    one, chosen = one_of_several(plain)
    whole, made = composed(one)
    return whole, [*adapted, *chosen, *made]


def _is_head_of(match: Match, head: str) -> bool:
    own = (
        f".{match.tensors[f'{match.entry.rows[match.entry.head].name}.weight'].name.removesuffix('.weight')}"
    )
    return own.endswith(f".{head}")


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


def _known(checkpoint: Checkpoint, match: Match, head: str | None) -> Network:
    parts = from_graph(match, batch_counters(checkpoint))
    if head is not None:
        parts = replace(parts, doubts=())
    entry = match.entry
    notes = [Finding("note", f"auxiliary heads {', '.join(entry.aux)} are not analysed")] if entry.aux else []
    if match.structural:
        notes.append(
            Finding(
                "note", f"the names are not torchvision's: read as {entry.architecture} by shapes and blocks"
            )
        )
    if match.exact:
        return _network(checkpoint, parts, entry.architecture, entry.family, notes)
    family = resnet_kind(parts.layers) if entry.family in ("resnet", "wide_resnet") else entry.family
    notes.append(Finding("note", f"a variant of {family}: torchvision's names and wiring, other shapes"))
    return _network(checkpoint, parts, family, family, notes)


def _unknown(checkpoint: Checkpoint, tensors: tuple[StoredTensor, ...], head: str | None) -> Network:
    refuse_unread(checkpoint)
    refuse_unfit(checkpoint, unfit(checkpoint))
    placed = tensors if checkpoint.ordered else natural_order(tensors)
    same = same_shapes(tensors) if head is None else None
    head_shape = same[1] if same else None
    parts = from_shapes(
        placed,
        batch_counters(checkpoint),
        ordered=checkpoint.ordered,
        head_shape=head_shape,
        head_name=head,
    )
    if isinstance(parts, str):
        missing = missing_of_known(tensors)
        why = parts + (f" (it is {missing})" if missing else "")
        raise NotAClassifier(
            f"no classification layer among its {len(tensors)} tensors{why}",
            where=checkpoint.path,
            expected="a last linear layer or 1 x 1 convolution with an output for each of two classes or more",
            remedy="give the whole trained classifier, head included",
        )
    if same:
        entry, _ = same
        doubt = Finding(
            "doubt", f"shapes of {entry.architecture} in another order: partners guessed by shape"
        )
        return _network(checkpoint, parts, entry.architecture, entry.family, [doubt])
    folded = folded_norms(tensors)
    family = relatives(parts.layers) if folded is None else folded.family
    what = "architecture" if family == UNKNOWN else f"{family} variant"
    findings = [Finding("note", f"unknown {what}: layers and partners read from shapes")]
    if folded is not None:
        findings.append(
            Finding(
                "doubt",
                f"a {folded.architecture} without some norms or biases, as where batch norms are folded",
            )
        )
    return _network(checkpoint, parts, family, family, findings)


KERAS = "keras"
"""What the formats of Keras are called begins so: it flattens a map place by place."""


def _network(
    checkpoint: Checkpoint, parts: Parts, architecture: str, family: str, findings: list[Finding]
) -> Network:
    said = [
        *(Finding("note", note) for note in parts.notes),
        *(Finding("doubt", doubt) for doubt in parts.doubts),
    ]
    return Network(
        layers=parts.layers,
        head=parts.head,
        head_feeds=parts.feeds,
        norms=parts.norms,
        architecture=architecture,
        family=family,
        fingerprint=fingerprint_of(parts.layers, parts.head),
        num_classes=parts.layers[parts.head].weight.shape[0],
        findings=(*checkpoint.findings, *said, *findings),
        extras=tuple((tensor.name, tensor.data) for tensor in parts.extras),
        channels_last=checkpoint.format.startswith(KERAS),
    )
