"""A layer's weight on the device, in the shapes the digest's blocks ask for."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightfeat.network.types import Layer


def upload(array: NDArray[np.float32], device: torch.device) -> Tensor:
    """A tensor that shares a mapped, read-only array's memory on the CPU, or a copy of it on another device.

    Nothing in the digest writes in place, so the array's read-only flag, about which torch warns, may go unseen.
    """
    contiguous = np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED"])
    if contiguous.flags.writeable:
        return torch.from_numpy(contiguous).to(device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(contiguous).to(device)


@dataclass(frozen=True, eq=False)
class LayerTensors:
    """One layer on the device: `weight` is (out, in/groups, taps), `matrix` is (groups, out/groups, in/groups *
    taps).

    A depthwise convolution is one matrix (channels, taps): split by group, its singular values would only be its
    channels' norms, which the channel block has.
    """

    layer: Layer
    weight: Tensor

    @property
    def matrix(self) -> Tensor:
        groups = 1 if self.layer.kind == "depthwise" else self.layer.groups
        return self.weight.reshape(groups, self.weight.shape[0] // groups, -1)

    def fold(self) -> Tensor | None:
        """The factor gamma / sqrt(var + eps) BatchNorm scales each output channel by, float64 (out,), or None."""
        norm = self.layer.norm_after
        if norm is None or norm.gamma is None or norm.var is None:
            return None
        factor = norm.gamma.astype(np.float64) / np.sqrt(norm.var.astype(np.float64) + norm.eps)
        return torch.from_numpy(factor).to(self.weight.device)


def on_device(layer: Layer, device: torch.device) -> LayerTensors:
    """Bring one layer to the device; nothing is copied when that is the CPU."""
    weight = upload(layer.weight, device)
    return LayerTensors(layer, weight.reshape(weight.shape[0], weight.shape[1] if weight.ndim > 1 else 1, -1))
