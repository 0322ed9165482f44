"""What is known, from the weights, of the activations that reach the head: one law a head input channel.

Batch-normalised pre-activations are close to Normal(beta, gamma^2) over the training data; without a norm, a
unit-variance input
gives Normal(bias, |row|^2). Either way the activation is the rectified variable, whose mean has a closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.types import Array
from weightfeat.network.types import Layer, Network, Norm


@dataclass(frozen=True, eq=False)
class LatentLaw:
    """Centre and spread (D,) of each head input's pre-activation; `known` is False where nothing feeds it by name."""

    centre: Array
    spread: Array
    known: NDArray[np.bool_]

    @property
    def mean(self) -> Array:
        """E[relu(centre + spread * n)] = spread * phi(t) + centre * Phi(t), t = centre / spread. (D,)"""
        t = self.centre / np.maximum(self.spread, 1e-12)
        density = np.exp(-0.5 * np.minimum(t * t, 1400.0)) / np.sqrt(2 * np.pi)
        return np.asarray(self.spread * density + self.centre * _normal_cdf(t))

    @property
    def active(self) -> Array:
        """P(pre-activation > 0). (D,)"""
        return np.asarray(_normal_cdf(self.centre / np.maximum(self.spread, 1e-12)))


def _normal_cdf(x: Array) -> Array:
    return np.array([0.5 * erfc(-value / sqrt(2)) for value in x.tolist()])


def head_matrix(network: Network) -> Array:
    """The head's weight as (C, D) float64; a 1x1 convolution is a matrix already."""
    weight = network.layers[network.head].weight
    return weight.reshape(weight.shape[0], -1).astype(np.float64)


def latent_law(network: Network) -> LatentLaw:
    """The law of the head's inputs. Inputs that no known layer feeds get Normal(0, 1)."""
    width = head_matrix(network).shape[1]
    centre, spread, known = np.zeros(width), np.ones(width), np.zeros(width, np.bool_)
    for feed in network.head_feeds:
        segment = slice(feed.start, feed.stop)
        centre[segment], spread[segment] = _segment(network.layers[feed.layer], feed.stop - feed.start)
        known[segment] = True
    before = network.layers[network.head].norm_before
    if _usable(before, width):
        assert before is not None
        centre, spread = _affine(before)
        known = np.ones(width, np.bool_)
    return LatentLaw(centre, spread, known)


def _segment(layer: Layer, width: int) -> tuple[Array, Array]:
    norm = layer.norm_after
    if _usable(norm, width):
        assert norm is not None
        return _affine(norm)
    if len(layer.weight) != width:
        return np.zeros(width), np.ones(width)
    rows = layer.weight.reshape(width, -1)
    bias = np.zeros(width) if layer.bias is None else layer.bias.astype(np.float64)
    # A copy in double precision would be as large as the network where the network is a VGG.
    return bias, np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))


def _usable(norm: Norm | None, width: int) -> bool:
    return norm is not None and norm.gamma is not None and norm.beta is not None and len(norm.gamma) == width


def _affine(norm: Norm) -> tuple[Array, Array]:
    assert norm.gamma is not None
    assert norm.beta is not None
    return norm.beta.astype(np.float64), np.abs(norm.gamma.astype(np.float64))
