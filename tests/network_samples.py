"""Checkpoints made of shapes alone, for the network room's tests: zeros that take no memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.network.table import ANY, CLASSES, Entry, entries

Shapes = Mapping[str, tuple[int, ...]]


def entry_of(architecture: str, *, aux: bool = False) -> Entry:
    """The table's entry of an architecture."""
    return next(item for item in entries() if item.architecture == architecture and bool(item.aux) == aux)


def shapes_of(entry: Entry, num_classes: int, aux_classes: int = 1000) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the entry's tensors at a class count."""
    sizes = {CLASSES: num_classes, ANY: aux_classes}
    return {
        name: tuple(size if isinstance(size, int) else sizes[size] for size in shape)
        for name, shape in entry.tensors
    }


def with_counters(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The same with a batch counter behind every running variance, as torch has written since 0.4.1."""
    full: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        full[name] = shape
        if name.endswith("running_var"):
            full[name.replace("running_var", "num_batches_tracked")] = ()
    return full


def stored(name: str, data: NDArray[np.generic]) -> StoredTensor:
    """A tensor under numpy's name for its dtype, which is torch's too."""
    return StoredTensor(name, str(data.dtype), data)


def hollow(name: str, shape: tuple[int, ...]) -> StoredTensor:
    """Zeros of a shape in a few bytes; an integer where the name is a batch counter's."""
    dtype = np.int64 if name.endswith("num_batches_tracked") else np.float32
    return stored(name, np.broadcast_to(dtype(0), shape))


def checkpoint(tensors: Iterable[StoredTensor], *, ordered: bool = True) -> Checkpoint:
    """A checkpoint of these tensors."""
    return Checkpoint(Path("model.pt"), "state_dict", "0" * 64, tuple(tensors), ordered)


def hollow_checkpoint(shapes: Shapes, *, ordered: bool = True) -> Checkpoint:
    """A checkpoint of hollow tensors, in the mapping's order or sorted by name."""
    names = list(shapes) if ordered else sorted(shapes)
    return checkpoint((hollow(name, shapes[name]) for name in names), ordered=ordered)


def conv(
    name: str, out: int, inputs: int, kernel: int = 3, *, bias: bool = True
) -> dict[str, tuple[int, ...]]:
    """Shapes of a convolution."""
    shapes: dict[str, tuple[int, ...]] = {f"{name}.weight": (out, inputs, kernel, kernel)}
    return {**shapes, f"{name}.bias": (out,)} if bias else shapes


def linear(name: str, out: int, inputs: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a linear layer."""
    return {f"{name}.weight": (out, inputs), f"{name}.bias": (out,)}


def norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a BatchNorm."""
    return {f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")}
