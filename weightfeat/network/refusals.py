"""What is refused: networks of which no honest analysis can be made, and those made to wear an analysis down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from string import ascii_letters
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.errors import HostileFile, UnsupportedLayout
from weightfeat.network.recognition import clash
from weightfeat.network.types import Network

_LISTED = 3  # names a line lists before it counts the rest
_MOST_TENSORS = 10_000  # ResNet-1202 has six thousand
_LARGEST_WEIGHT = 1e15  # the square of a larger one, summed over a layer, may pass float32's range
# 2048 classes take half a minute and 4 GB: statistics of pairs of classes grow with their square, and thousands of
# random latents enter as many inputs as there are. VGG's, the widest of ImageNet's, has 1000 classes of 4096 inputs.
_MOST_CLASSES = 2048
_MOST_INPUTS = 1 << 16
_MOST_HEAD_WEIGHTS = 1 << 24


def elements_of(named: Iterable[tuple[str, NDArray[Any]]]) -> int:
    """How many numbers named arrays hold."""
    return sum(array.size for _, array in named)


def left_out(named: Sequence[tuple[str, NDArray[Any]]]) -> str:
    """What to say of named arrays that belong to no layer analysed."""
    names = _listed([describe(name) for name, _ in named])
    return f"{len(named)} tensors with {elements_of(named):,} elements belong to no layer analysed: {names}"


def refuse_mostly_left_out(
    checkpoint: Checkpoint, named: Sequence[tuple[str, NDArray[Any]]], elements: int
) -> None:
    """Refuse a file most of whose `elements` numbers are in arrays that belong to no layer analysed."""
    if 2 * elements_of(named) > elements:
        raise UnsupportedLayout(
            f"{left_out(named)}, of {elements:,} in the file",
            where=checkpoint.path,
            expected="plain floating-point weights",
            remedy="remove the pruning, weight norm or quantisation and save again",
        )


def refuse_hostile(checkpoint: Checkpoint, tensors: Sequence[StoredTensor]) -> None:
    """Refuse what no network has: more tensors than any, or two of them in one place."""
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


def refuse_large_head(checkpoint: Checkpoint, network: Network) -> None:
    """Refuse a classification layer whose classes or inputs no machine has the memory, or user the time, for."""
    classes, inputs = network.layers[network.head].weight.shape[:2]
    if classes > _MOST_CLASSES or inputs > _MOST_INPUTS or classes * inputs > _MOST_HEAD_WEIGHTS:
        raise UnsupportedLayout(
            f"its classification layer tells {classes:,} classes apart by {inputs:,} inputs",
            where=checkpoint.path,
            expected=f"at most {_MOST_CLASSES:,} classes, {_MOST_INPUTS:,} inputs and {_MOST_HEAD_WEIGHTS:,} weights",
            remedy="there is none: so large a classifier is not analysed",
        )


def refuse_impossible(checkpoint: Checkpoint, network: Network) -> None:
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
