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

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.latent_law import head_matrix, latent_law
from weightfeat.digest.types import Array, Block
from weightfeat.network.types import Feed, Network

VERSION = 1
KINDS = ("half_normal", "law", "sparse", "through")
DRAWS = 4096
DRAWS_THROUGH = 2048  # of the kind `through`, whose cost is a product with the feeding layer
SPARSITY = 0.05
REDRAWS = 8
SEED = 20260
_CHUNK = 1024
_FEW = 128  # latents at a time, which fit a processor's cache
_KEPT = 4096  # inputs of a head up to which draws are kept, VGG's: 84 MB
_FRACTION = (1 << 23) - 1  # the bits of a float32 that rounding makes zero
_FEWER_BITS = 11  # of half precision, with the one that is not stored
Latents = NDArray[np.float32]


def latents(network: Network) -> Block:
    """The whole block."""
    return _whole(_head(network))


def redrawn(network: Network, count: int = REDRAWS) -> list[Block]:
    """The block as it would be in `count` orders of channels that the head's weights may have had before they were
    rounded; none where they are in full precision.

    Rounding may swap channels whose columns are almost of one norm, and another order draws other latents.
    """
    rounding = rounding_of(network.layers[network.head].weight)
    if not rounding:
        return []
    matrix, generator = head_matrix(network), np.random.default_rng(SEED)
    likely = (matrix * (1 + rounding * generator.uniform(-1, 1, matrix.shape)) for _ in range(count))
    return [_whole(_head(network, _order(each))) for each in likely]


def rounding_of(weight: NDArray[np.float32]) -> float:
    """The largest relative error of weights that were rounded to fewer bits than float32 has; 0 where they were not.

    >>> rounding_of(np.array([1.0, -2.5, 0.0], np.float32)) == 2**-3
    True
    """
    fractions = int(np.bitwise_or.reduce(np.ascontiguousarray(weight).view(np.uint32), axis=None)) & _FRACTION
    unused = (fractions & -fractions).bit_length() - 1 if fractions else _FRACTION.bit_length()
    bits = _FRACTION.bit_length() + 1 - unused
    return 2.0**-bits if bits <= _FEWER_BITS and weight.any() else 0.0


def _whole(head: _Head) -> Block:
    return _block(head, [work(head) for work in _pieces()])


def begin(network: Network, pool: ThreadPoolExecutor) -> Future[Block]:
    """The same in the making, the draws shared out over the pool."""
    head = pool.submit(_head, network)
    answers = [pool.submit(lambda work: work(head.result()), work) for work in _pieces()]
    return pool.submit(lambda: _block(head.result(), [answer.result() for answer in answers]))


def _pieces() -> list[Callable[[_Head], dict[str, Latents]]]:
    """The work in pieces for any thread: each gives the logits (draws, C) of a chunk of latents, without the bias."""
    return [
        *(partial(_plain, chunk=chunk) for chunk in range(DRAWS // _CHUNK)),
        *(partial(_through, chunk=chunk) for chunk in range(DRAWS_THROUGH // _CHUNK)),
    ]


@dataclass(frozen=True, eq=False)
class _Head:
    """The head with its inputs in canonical order: `readout` (D, C), `bias` (C,), the law's `centre` and `spread` (D,),
    and the plain layers that feed it."""

    readout: Latents
    bias: Array
    centre: Latents
    spread: Latents
    feeds: tuple[_Feed, ...]


def _order(matrix: Array) -> NDArray[np.int64]:
    """The head's inputs in canonical order: by the norm of their column in its matrix (C, D)."""
    return np.argsort(np.linalg.norm(matrix, axis=0), kind="stable")


def _head(network: Network, order: NDArray[np.int64] | None = None) -> _Head:
    matrix, law = head_matrix(network), latent_law(network)
    bias = network.layers[network.head].bias
    order = _order(matrix) if order is None else order
    feeds = (_feed(network, feed, index, order) for index, feed in enumerate(network.head_feeds))
    return _Head(
        readout=matrix[:, order].T.astype(np.float32),
        bias=np.zeros(len(matrix)) if bias is None else bias.astype(np.float64),
        centre=law.centre[order].astype(np.float32),
        spread=law.spread[order].astype(np.float32),
        feeds=tuple(feed for feed in feeds if feed is not None),
    )


def _plain(head: _Head, chunk: int) -> dict[str, Latents]:
    """What latents of the kinds that need no layer but the head give, a few at a time."""
    width = len(head.centre)
    normal, kept = (_kept_draws if width <= _KEPT else _draws)(chunk, width)
    logits: dict[str, list[Latents]] = {"half_normal": [], "law": [], "sparse": []}
    for part, sparse in zip(_few(normal), _few(kept), strict=True):
        half = np.abs(part)
        logits["half_normal"].append(half @ head.readout)
        logits["law"].append(_rectified(head, part) @ head.readout)
        half *= sparse
        logits["sparse"].append(half @ head.readout)
    return {kind: np.concatenate(parts) for kind, parts in logits.items()}


def _draws(chunk: int, width: int) -> tuple[Latents, NDArray[np.bool_]]:
    """Normal draws (draws, width), and which of them a sparse latent keeps."""
    generator = np.random.Generator(np.random.PCG64([SEED, chunk]))
    normal = generator.standard_normal((_CHUNK, width), dtype=np.float32)
    kept = generator.random((_CHUNK, width), dtype=np.float32) < SPARSITY
    normal.flags.writeable = kept.flags.writeable = False
    return normal, kept


_kept_draws = lru_cache(maxsize=DRAWS // _CHUNK)(_draws)
"""Draws stay for the next network of the same width, which has the same."""


def _few(draws: NDArray[Any]) -> list[NDArray[Any]]:
    return np.split(draws, _CHUNK // _FEW)


def _through(head: _Head, chunk: int) -> dict[str, Latents]:
    """What half-normal latents give that enter the layers that feed the head.

    Channels no layer feeds stay zero. Standardising over the draws stands in for BatchNorm.
    """
    out = np.zeros((_CHUNK, len(head.centre)), np.float32)
    for feed in head.feeds:
        generator = np.random.Generator(np.random.PCG64([SEED, chunk, feed.index]))
        x = generator.standard_normal((_CHUNK, feed.rows.shape[1]), dtype=np.float32)
        z = np.abs(x, out=x) @ feed.rows.T
        mean, deviation = z.mean(axis=0), z.std(axis=0)
        z -= mean
        out[:, feed.places] = np.divide(z, np.maximum(deviation, 1e-12), out=z)
    return {"through": np.concatenate([_rectified(head, part) @ head.readout for part in _few(out)])}


def _rectified(head: _Head, standardised: Latents) -> Latents:
    """Activations of pre-activations given in standard deviations, (draws, D)."""
    activations = standardised * head.spread
    activations += head.centre
    np.maximum(activations, 0, out=activations)
    return activations


def _block(head: _Head, answers: Sequence[dict[str, Latents]]) -> Block:
    parts = []
    for kind in KINDS:
        logits = np.concatenate([answer[kind] for answer in answers if kind in answer])
        parts.append(_responses(logits.astype(np.float64) + head.bias))
    return {name: np.stack([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True, eq=False)
class _Feed:
    """A plain layer that feeds the head: its rows (out, in) summed over taps, inputs and outputs in canonical order,
    and `places`, which of the head's inputs in their order the outputs are."""

    index: int
    places: NDArray[np.int64] | slice
    rows: Latents


def _feed(network: Network, feed: Feed, index: int, order: NDArray[np.int64]) -> _Feed | None:
    layer = network.layers[feed.layer]
    if len(layer.weight) != feed.stop - feed.start or layer.groups != 1:
        return None
    taps = layer.weight.reshape(len(layer.weight), layer.weight.shape[1], -1)
    rows = taps[:, :, 0] if taps.shape[2] == 1 else taps.sum(axis=2)
    inputs = np.argsort(np.linalg.norm(rows, axis=0), kind="stable")
    places = np.flatnonzero((order >= feed.start) & (order < feed.stop))
    outputs = order[places] - feed.start
    every = len(places) == len(order)  # a slice, which is written faster
    return _Feed(index, slice(None) if every else places, np.take(rows[outputs], inputs, axis=1))


def _first_two(logits: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The classes of the largest and of the second largest logit, of equal ones the first; an only class is both."""
    others = np.where(np.isnan(logits), -np.inf, logits)
    winner = others.argmax(axis=1)
    others[np.arange(len(others)), winner] = -np.inf
    return winner, others.argmax(axis=1)


def _responses(logits: Array) -> Block:
    """Summaries of one kind's (draws, C) logits."""
    draws, classes = logits.shape
    winner, second = _first_two(logits)
    every = np.arange(draws)
    top = logits[every, winner]
    gap = top - logits[every, second]
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
