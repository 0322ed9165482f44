"""Keras's variables under torch's names and axes.

Keras keeps kernels as (*window, in, out); torch as (out, in, *window). A Dense layer behind a Flatten keeps Keras's
order of inputs (height, width, channel).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.faults import Abuse
from weightfeat.checkpoint.storages import StoredArray
from weightfeat.checkpoint.types import StoredTensor
from weightfeat.checkpoint.walk import checked_name

_LEAVES = {
    "bias": "bias",
    "b": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "running_mean": "running_mean",
    "moving_variance": "running_var",
    "running_std": "running_var",  # Keras 1's name; a variance all the same
}
# Keras gives a layer its values by position, in the order of these: a name in another place would be another's value.
_ORDER = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}
_KERNEL = re.compile(r"^(?:(?P<part>.+)_)?(?:kernel|W)(?:_[0-9]+)?$", re.DOTALL)
_SUFFIX = re.compile(r":[0-9]+$")


@dataclass(frozen=True, eq=False)
class Variable:
    """One of a layer's variables under the name the file gives it ("conv_1/kernel:0")."""

    name: str
    value: StoredArray


def renamed(
    layer: str, variables: Sequence[Variable], *, kind: str = "", theano_order: bool = False
) -> list[StoredTensor]:
    """A layer's variables as torch would hold them.

    Parameters
    ----------
    layer : its name; becomes the modules' path. A nested network's own layers stay apart below it.
    kind : its class in Keras, where the file names it; tells depthwise kernels apart.
    theano_order : Keras 1's other order of axes, which is torch's own.

    Raises Abuse where the names contradict the order.
    """
    paths = [_SUFFIX.sub("", variable.name).split("/") for variable in variables]
    shared = _shared_folders(paths)
    depthwise = "depthwise" in (kind or layer).lower()
    tensors = []
    places: dict[str, int] = {}
    for variable, path in zip(variables, paths, strict=True):
        leaf = path[-1].removeprefix(f"{layer}_")
        role, axes = _role(leaf, variable.value.data.ndim)
        value = variable.value.data
        if axes == "kernel" and not (theano_order and value.ndim > 2):
            value = _torch_kernel(value, depthwise=depthwise or leaf.startswith("depthwise"))
        name = ".".join((layer, *path[shared:-1], role))
        folder, place = "/".join(path[:-1]), _ORDER.get(role.rpartition(".")[2], 0)
        if place < places.get(folder, 0):
            raise Abuse(
                f"the variables of {layer!r} are named in another order than Keras's, which goes by position"
            )
        places[folder] = place
        tensors.append(StoredTensor(checked_name(name), variable.value.dtype, _frozen(value)))
    return tensors


def positional(variables: Sequence[Variable]) -> list[Variable]:
    """A layer's variables of Keras 3's weights files, which have numbers for names, under names told by shape."""
    dimensions = [variable.value.data.ndim for variable in variables]
    if dimensions == [1, 1, 1, 1]:
        names = ["gamma", "beta", "moving_mean", "moving_variance"]
    elif dimensions == [1, 1]:
        names = ["gamma", "beta"]
    elif dimensions and dimensions[0] >= 2 and dimensions[1:] in ([], [1]):
        names = ["kernel", "bias"][: len(variables)]
    else:
        names = [f"variable_{variable.name}" for variable in variables]
    return [replace(variable, name=name) for variable, name in zip(variables, names, strict=True)]


def _shared_folders(paths: Sequence[Sequence[str]]) -> int:
    """How many leading folders all of a layer's variables share: the layer's own name, repeated."""
    folders = zip(*(path[:-1] for path in paths), strict=False)
    return next((depth for depth, parts in enumerate(folders) if len(set(parts)) > 1), _shortest(paths))


def _shortest(paths: Sequence[Sequence[str]]) -> int:
    return min((len(path) - 1 for path in paths), default=0)


def _role(leaf: str, dimensions: int) -> tuple[str, str]:
    """torch's name for a variable, and whether it has a kernel's axes."""
    if leaf in _LEAVES:
        return _LEAVES[leaf], ""
    kernel = _KERNEL.match(leaf)
    if kernel and dimensions >= 2:
        return (f"{kernel['part']}.weight" if kernel["part"] else "weight"), "kernel"
    if leaf == "embeddings":
        return "embeddings.weight", ""
    return leaf, ""


def _torch_kernel(value: NDArray[np.generic], *, depthwise: bool) -> NDArray[np.generic]:
    last = value.ndim - 1
    turned = value.transpose((last, last - 1, *range(last - 1)))
    if not depthwise or value.ndim == 2:
        return turned
    # (multiplier, channels, *window): torch puts the outputs of one channel side by side.
    return turned.swapaxes(0, 1).reshape(-1, 1, *value.shape[:-2])


def _frozen(value: NDArray[np.generic]) -> NDArray[np.generic]:
    value.setflags(write=False)
    return value
