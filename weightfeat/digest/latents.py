"""Block `latents`: how the head answers random inputs (Random latents into the head: arXiv 2605.18908).

A class a trigger leads to wins more of them than its share. For each kind of `KINDS`:

- `share` (kinds, C) float32: share of latents whose largest logit is the class's; `second` (kinds, C): the
  second largest
- `logit` (kinds, C, 2) float32: mean and standard deviation of the class's logit; `softmax` (kinds, C): its
  mean probability
- `margin` (kinds, C) float32: mean gap to the runner-up where the class wins, NaN where it never does
- `runner_up` (kinds, C, C) int16: how often row wins with column second

Latents are drawn on the CPU in a canonical order of channels (by column norm), so a permutation of channels, another
device or another thread count changes nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.latent_law import Array, head_matrix, latent_law
from weightfeat.digest.types import Block
from weightfeat.network.types import Feed, Layer, Network

VERSION = 1
KINDS = ("half_normal", "law", "sparse", "through")
DRAWS = 4096
SPARSITY = 0.05
SEED = 20260
_CHUNK = 1024
Latents = NDArray[np.float32]


def latents(network: Network) -> Block:
    """The whole block."""
    matrix = head_matrix(network)
    layer = network.layers[network.head]
    bias = np.zeros(len(matrix)) if layer.bias is None else layer.bias.astype(np.float64)
    order = np.argsort(np.linalg.norm(matrix, axis=0), kind="stable")
    law = latent_law(network)
    centre, spread = law.centre[order].astype(np.float32), law.spread[order].astype(np.float32)
    readout = matrix[:, order].T.astype(np.float32)
    parts: list[NDArray[np.float32]] = []
    for chunk in range(DRAWS // _CHUNK):
        normal, uniform = _draws(chunk, matrix.shape[1])
        half = np.abs(normal)
        through = _through(network, normal.shape[1], chunk)
        kinds = (
            half,
            np.maximum(centre + spread * normal, 0),
            half * (uniform < SPARSITY),
            np.maximum(centre + spread * through[:, order], 0),
        )
        parts.append(np.stack([kind @ readout for kind in kinds]))
    return _responses(np.concatenate(parts, axis=1).astype(np.float64) + bias)


def _draws(chunk: int, width: int) -> tuple[Latents, Latents]:
    generator = np.random.Generator(np.random.PCG64([SEED, chunk]))
    return (
        generator.standard_normal((_CHUNK, width), dtype=np.float32),
        generator.random((_CHUNK, width), dtype=np.float32),
    )


def _through(network: Network, width: int, chunk: int) -> Latents:
    """Standardised pre-activations of the head's inputs when half-normal latents enter the layers that feed it.

    Channels no layer feeds stay zero. Standardising over the draws stands in for BatchNorm. Shape (draws, D).
    """
    out = np.zeros((_CHUNK, width), np.float32)
    for index, feed in enumerate(network.head_feeds):
        layer = network.layers[feed.layer]
        if len(layer.weight) == feed.stop - feed.start and layer.groups == 1:
            out[:, feed.start : feed.stop] = _pre_activation(layer, feed, index, chunk)
    return out


def _pre_activation(layer: Layer, feed: Feed, index: int, chunk: int) -> Latents:
    weight = layer.weight.reshape(len(layer.weight), layer.weight.shape[1], -1).sum(axis=2)
    order = np.argsort(np.linalg.norm(weight.astype(np.float64), axis=0), kind="stable")
    generator = np.random.Generator(np.random.PCG64([SEED, chunk, index]))
    x = np.abs(generator.standard_normal((_CHUNK, weight.shape[1]), dtype=np.float32))
    z = x @ weight[:, order].T
    return np.asarray((z - z.mean(axis=0)) / np.maximum(z.std(axis=0), 1e-12), np.float32)


def _responses(logits: Array) -> Block:
    """Summaries of (kinds, draws, C) logits."""
    kinds, draws, classes = logits.shape
    ranked = np.argsort(-logits, axis=2, kind="stable")[:, :, :2]
    winner, second = ranked[:, :, 0], ranked[:, :, min(1, classes - 1)]
    top = np.take_along_axis(logits, winner[:, :, None], 2)[:, :, 0]
    gap = top - np.take_along_axis(logits, second[:, :, None], 2)[:, :, 0]
    pairs = np.zeros((kinds, classes, classes))
    gaps = np.zeros((kinds, classes))
    for kind in range(kinds):
        np.add.at(pairs[kind], (winner[kind], second[kind]), 1)
        np.add.at(gaps[kind], winner[kind], gap[kind])
    wins = pairs.sum(axis=2)
    exponential = np.exp(logits - top[:, :, None])
    return {
        "share": (wins / draws).astype(np.float32),
        "second": (pairs.sum(axis=1) / draws).astype(np.float32),
        "logit": np.stack([logits.mean(axis=1), logits.std(axis=1)], axis=2).astype(np.float32),
        "softmax": (exponential / exponential.sum(axis=2, keepdims=True)).mean(axis=1).astype(np.float32),
        "margin": np.where(wins > 0, gaps / np.maximum(wins, 1), np.nan).astype(np.float32),
        "runner_up": pairs.astype(np.int16),
    }
