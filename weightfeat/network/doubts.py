"""Reasons to doubt that what was read is a trained classifier: each makes a verdict say that it cannot tell."""

from __future__ import annotations

from collections import Counter

import numpy as np

from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import Finding
from weightfeat.network.graph import Parts
from weightfeat.network.table import CLASSES, Entry, LayerRow, NormRow, entries
from weightfeat.network.types import Layer, Network, Norm

_FEWEST_FEATURES = 64  # outputs of a head that is more likely an embedding's when they are a power of two
_UNIFORM = 1.8  # kurtosis of a uniform distribution
_CLOSE = 0.05
_FEWEST_WEIGHTS = 1000


def doubts(network: Network) -> tuple[Finding, ...]:
    """A finding of kind "doubt" for each reason that the values of a network give.

    Its head is all zeros, or all its rows are one; nothing in it was trained; or its outputs are as many as an
    embedding's rather than a data set's classes.
    """
    head = network.layers[network.head]
    found = []
    if not (head.weight != head.weight[:1]).any():
        found.append(f"the classification layer {describe(head.name)} answers every class alike")
    elif is_untrained(network):
        found.append("its weights are those before any training")
    classes = network.num_classes
    if classes >= _FEWEST_FEATURES and classes & (classes - 1) == 0:
        found.append(f"{classes} outputs are more likely an embedding's or a projection's than classes")
    return tuple(Finding("doubt", reason) for reason in found)


def is_untrained(network: Network) -> bool:
    """Whether the network is as torch initialises it: norms that have seen nothing, or, where there are none, weights
    and biases of every layer drawn evenly from a range that ends at one over the root of the inputs."""
    norms = [norm for norm in network.norms if norm.mean is not None and norm.var is not None]
    if norms:
        return all(map(_is_fresh, norms))
    layers = [layer for layer in network.layers if layer.weight.size >= _FEWEST_WEIGHTS]
    return bool(layers) and all(map(_is_drawn_evenly, layers))


def _is_fresh(norm: Norm) -> bool:
    assert norm.mean is not None
    assert norm.var is not None
    seen = norm.batches is not None and norm.batches > 0
    return not seen and not norm.mean.any() and bool((norm.var == 1).all())


def _is_drawn_evenly(layer: Layer) -> bool:
    """Uniform within +- 1 / sqrt(inputs), torch's default for linear layers and convolutions."""
    bound = 1 / np.sqrt(layer.weight[0].size)
    weights = layer.weight.ravel().astype(np.float64) / bound
    return bool(
        1 - _CLOSE < np.abs(weights).max() <= 1 + 1e-3
        and abs(np.mean(weights**2) * 3 - 1) < _CLOSE
        and abs(np.mean(weights**4) / np.mean(weights**2) ** 2 - _UNIFORM) < _CLOSE
        and (layer.bias is None or np.abs(layer.bias).max() <= bound * (1 + 1e-3))
    )


def folded_norms(parts: Parts) -> Entry | None:
    """The architecture whose batch norms were folded into its layers: the same ones, with a bias each and no norms."""
    if parts.norms or not all(layer.bias is not None for layer in parts.layers):
        return None
    found = Counter(
        layer.weight.shape if place != parts.head else (CLASSES, *layer.weight.shape[1:])
        for place, layer in enumerate(parts.layers)
    )
    for entry in entries():
        rows = [row for row in entry.rows if isinstance(row, LayerRow) and not entry.is_aux(row)]
        has_norms = any(isinstance(row, NormRow) for row in entry.rows)
        if has_norms and Counter(tuple(row.shape) for row in rows) == found:
            return entry
    return None
