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

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.latent_law import Array, head_matrix, latent_law
from weightfeat.digest.types import Block
from weightfeat.network.types import Feed, Network

VERSION = 1
KINDS = ("half_normal", "law", "sparse", "through")
DRAWS = 4096
DRAWS_THROUGH = 2048  # of the kind `through`, whose cost is a product with the feeding layer
SPARSITY = 0.05
SEED = 20260
_CHUNK = 1024
Latents = NDArray[np.float32]


def latents(network: Network) -> Block:
    """The whole block."""
    head = _head(network)
    return _block(head, [_answers(head, chunk) for chunk in range(DRAWS // _CHUNK)])


def begin(network: Network, pool: ThreadPoolExecutor) -> Future[Block]:
    """The same in the making, the draws shared out over the pool."""
    head = _head(network)
    answers = [pool.submit(_answers, head, chunk) for chunk in range(DRAWS // _CHUNK)]
    return pool.submit(lambda: _block(head, [answer.result() for answer in answers]))


@dataclass(frozen=True, eq=False)
class _Head:
    """The head with its inputs in canonical order: `readout` (D, C), `bias` (C,), the law's `centre` and `spread` (D,),
    which input is which (`order`), and the layers that feed it, None for what is no plain layer."""

    readout: Latents
    bias: Array
    centre: Latents
    spread: Latents
    order: NDArray[np.int64]
    feeds: tuple[_Feed | None, ...]


def _head(network: Network) -> _Head:
    matrix, law = head_matrix(network), latent_law(network)
    bias = network.layers[network.head].bias
    order = np.argsort(np.linalg.norm(matrix, axis=0), kind="stable")
    return _Head(
        readout=matrix[:, order].T.astype(np.float32),
        bias=np.zeros(len(matrix)) if bias is None else bias.astype(np.float64),
        centre=law.centre[order].astype(np.float32),
        spread=law.spread[order].astype(np.float32),
        order=order,
        feeds=tuple(_feed(network, feed, index) for index, feed in enumerate(network.head_feeds)),
    )


def _answers(head: _Head, chunk: int) -> dict[str, Latents]:
    """The logits (draws, C) of one chunk of latents of every kind, without the bias."""
    centre, spread = head.centre, head.spread
    normal, uniform = _draws(chunk, len(head.order))
    half = np.abs(normal)
    latents = {
        "half_normal": half,
        "law": np.maximum(centre + spread * normal, 0),
        "sparse": half * (uniform < SPARSITY),
    }
    if chunk < DRAWS_THROUGH // _CHUNK:
        through = _through(head.feeds, len(head.order), chunk)[:, head.order]
        latents["through"] = np.maximum(centre + spread * through, 0)
    return {kind: drawn @ head.readout for kind, drawn in latents.items()}


def _block(head: _Head, answers: Sequence[dict[str, Latents]]) -> Block:
    parts = []
    for kind in KINDS:
        logits = np.concatenate([answer[kind] for answer in answers if kind in answer])
        parts.append(_responses(logits.astype(np.float64) + head.bias))
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True, eq=False)
class _Feed:
    """A layer that feeds the head: its rows (out, in) summed over taps, inputs in canonical order."""

    feed: Feed
    index: int
    rows: Latents


def _feed(network: Network, feed: Feed, index: int) -> _Feed | None:
    layer = network.layers[feed.layer]
    if len(layer.weight) != feed.stop - feed.start or layer.groups != 1:
        return None
    taps = layer.weight.reshape(len(layer.weight), layer.weight.shape[1], -1)
    rows = taps[:, :, 0] if taps.shape[2] == 1 else taps.sum(axis=2)
    order = np.argsort(np.linalg.norm(rows, axis=0), kind="stable")
    return _Feed(feed, index, rows[:, order])


def _draws(chunk: int, width: int) -> tuple[Latents, Latents]:
    generator = np.random.Generator(np.random.PCG64([SEED, chunk]))
    return (
        generator.standard_normal((_CHUNK, width), dtype=np.float32),
        generator.random((_CHUNK, width), dtype=np.float32),
    )


def _through(feeds: Sequence[_Feed | None], width: int, chunk: int) -> Latents:
    """Standardised pre-activations of the head's inputs when half-normal latents enter the layers that feed it.

    Channels no layer feeds stay zero. Standardising over the draws stands in for BatchNorm. Shape (draws, D).
    """
    out = np.zeros((_CHUNK, width), np.float32)
    for part in (part for part in feeds if part is not None):
        generator = np.random.Generator(np.random.PCG64([SEED, chunk, part.index]))
        x = np.abs(generator.standard_normal((_CHUNK, part.rows.shape[1]), dtype=np.float32))
        z = x @ part.rows.T
        out[:, part.feed.start : part.feed.stop] = (z - z.mean(axis=0)) / np.maximum(z.std(axis=0), 1e-12)
    return out


def _responses(logits: Array) -> Block:
    """Summaries of one kind's (draws, C) logits."""
    draws, classes = logits.shape
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :2]
    winner, second = ranked[:, 0], ranked[:, min(1, classes - 1)]
    top = np.take_along_axis(logits, winner[:, None], 1)[:, 0]
    gap = top - np.take_along_axis(logits, second[:, None], 1)[:, 0]
    pairs = np.zeros((classes, classes))
    gaps = np.zeros(classes)
    np.add.at(pairs, (winner, second), 1)
    np.add.at(gaps, winner, gap)
    wins = pairs.sum(axis=1)
    exponential = np.exp(logits - top[:, None])
    return {
        "share": (wins / draws).astype(np.float32),
        "second": (pairs.sum(axis=0) / draws).astype(np.float32),
        "logit": np.stack([logits.mean(axis=0), logits.std(axis=0)], axis=1).astype(np.float32),
        "softmax": (exponential / exponential.sum(axis=1, keepdims=True)).mean(axis=0).astype(np.float32),
        "margin": np.where(wins > 0, gaps / np.maximum(wins, 1), np.nan).astype(np.float32),
        "runner_up": pairs.astype(np.int16),
    }
