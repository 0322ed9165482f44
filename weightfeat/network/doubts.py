"""Reasons to doubt that what was read is a trained classifier: each makes a verdict say that it cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import Finding, StoredTensor
from weightfeat.network.beside import is_watching
from weightfeat.network.table import CLASSES, Entry, LayerRow, entries
from weightfeat.network.types import Layer, Network, Norm
from weightfeat.network.whole import may_be_either

_FEWEST_FEATURES = 64  # outputs of a head that is more likely an embedding's when they are a power of two
_UNIFORM = 1.8  # kurtosis of a uniform distribution
_CLOSE = 0.05
_FEWEST_WEIGHTS = 1000
_NEVER_NORMED = ("vgg", "squeezenet")


def doubts(network: Network) -> tuple[Finding, ...]:
    """A finding of kind "doubt" for each reason that the values of a network give.

    Its head is all zeros, or all its rows are one; nothing in it was trained; its outputs are as many as an embedding's
    rather than a data set's classes; or its inputs may be another network's features.
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
    inputs = may_be_either(network)
    if inputs is not None:
        found.append(
            f"its {inputs} inputs may be a small grey picture's pixels, or another network's features"
        )
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


def folded_norms(tensors: Sequence[StoredTensor]) -> Entry | None:
    """The architecture some or all of whose batch norms were folded into its layers: all its layers and fewer vectors
    beside them, by more than a head's bias. None for a VGG, of which there are some that never had norms."""
    found = Counter(tensor.shape for tensor in tensors if tensor.data.ndim > 1)
    vectors = sum(tensor.data.ndim == 1 and not is_watching(tensor) for tensor in tensors)
    for entry in entries():
        if entry.aux or entry.family in _NEVER_NORMED:
            continue
        shapes = [shape for _, shape in entry.tensors]
        kernels = [shape for shape in shapes if len(shape) > 1 and CLASSES not in shape]
        fixed = Counter(tuple(int(size) for size in shape) for shape in kernels)
        left, head = list((found - fixed).elements()), entry.rows[entry.head]
        ends = len(left) == 1 and isinstance(head, LayerRow) and left[0][1:] == head.shape[1:]
        usual = sum(len(shape) == 1 for shape in shapes)
        if ends and found.total() == fixed.total() + 1 and vectors < usual - 1:
            return entry
    return None
