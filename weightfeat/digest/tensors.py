"""A layer's weight where it is digested, in the shapes the digest's blocks ask for."""

from __future__ import annotations

from dataclasses import dataclass

from weightfeat.digest.place import AnyArray, Place
from weightfeat.network.types import Layer


@dataclass(frozen=True, eq=False)
class LayerTensors:
    """One layer at its place: `weight` is (out, in/groups, taps), `matrix` is (groups, out/groups, in/groups *
    taps).

    A depthwise convolution is one matrix (channels, taps): split by group, its singular values would only be its
    channels' norms, which the channel block has.
    """

    layer: Layer
    weight: AnyArray
    place: Place

    @property
    def matrix(self) -> AnyArray:
        groups = 1 if self.layer.kind == "depthwise" else self.layer.groups
        return self.weight.reshape(groups, self.weight.shape[0] // groups, -1)

    def fold(self) -> AnyArray | None:
        """The factor gamma / sqrt(var + eps) BatchNorm scales each output channel by, float64 (out,), or None."""
        norm = self.layer.norm_after
        factor = None if norm is None else norm.factor
        return None if factor is None else self.place.upload(factor)

    def summed(self) -> AnyArray:
        """The weight summed over taps, times the factor of `fold`: float64 (out, in/groups)."""
        rows, fold = self.place.xp.sum(self.weight, axis=2, dtype=self.place.xp.float64), self.fold()
        return rows if fold is None else rows * fold[:, None]


def at_place(layer: Layer, place: Place) -> LayerTensors:
    """Bring one layer there; nothing is copied where that is the processor."""
    weight = place.upload(layer.weight)
    shape = (weight.shape[0], weight.shape[1] if weight.ndim > 1 else 1, -1)
    return LayerTensors(layer, weight.reshape(shape), place)
