"""Block `probes`: what a network answers on images made here, plain and under every look of the bank.

- `growth` (L, C) float16: mean over images of the softmax under a look, less that on plain images
- `logit` (L, C) float16: the same of the logits, each image's mean over classes taken off, in standard deviations of
  the plain ones
- `shift` (C,) float16: growth of the softmax of the class s after the one predicted plain, s = 0 to C - 1, counted
  round, under the look that makes it grow most: a trojan that sends every class to the next shows at s = 1
- `universal` (4, C) float16: of every class the growth of its logit, then of its softmax, where all images are moved
  towards it alike, by little and by more (`directions`)
- `inverted` (3, C) float16: of every class the cross-entropy that the least change leaves, the share of the image that
  it covers, and both together (`inversion`); zeros where the network is too dear for the search
- `plain` (C,) float16: mean softmax on plain images
- `family` (L,) uint8, `place` (L,) int8: of every look, as `looks` has them
- `asked` (3,) int32: side in pixels, channels, images

Where the file does not tell which scaling its images had, every one that people use has its share of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain, islice, takewhile
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from weightfeat.digest.types import Block
from weightfeat.execution.small import Small, candidates
from weightfeat.network.types import Network
from weightfeat.probes.directions import universal
from weightfeat.probes.images import KINDS, images
from weightfeat.probes.inversion import affordable, inverted, moved
from weightfeat.probes.looks import FAMILIES, Look, looks

__all__ = ["ask"]

Scaling = tuple[float, float]
SCALINGS: tuple[Scaling, ...] = ((0.0, 1.0), (0.5, 0.5), (0.45, 0.25))
"""What images in [0, 1] are shifted and divided by: nothing, to [-1, 1], to a mean of 0 and a deviation of 1."""
FEWEST, ENOUGH, MOST = 2 * len(KINDS), 24, 48
_BANK = 0.4
"""Of what asking may cost, how much the bank of looks takes; the rest is the inversion's."""
_MOST_CLASSES, _MOST_SIDE = 256, 256
_CHANNELS = (1, 3)
_MOST_WAYS = 7  # tried besides the most usual one
_HELD = 1 << 25
"""Numbers of all maps of all images together: a gradient needs them at once."""
_TINY = 1e-6
_LARGEST = float(np.finfo(np.float16).max)


def ask(network: Network, products: float, side: int | None = None) -> Block | None:
    """The whole block for at most so many multiplications; None where no code is at hand that would run the network, or
    `FEWEST` images would cost more, or it takes no pictures, or no picture after all. Weights are used as they are:
    where they are not finite, neither is an answer, and there is no block."""
    if network.num_classes > _MOST_CLASSES:
        return None
    ways = (way for way in candidates(network, side) if way.side <= _MOST_SIDE and way.channels in _CHANNELS)
    try:
        usual = next(ways, None)
        if usual is None:
            return None
        bank, count = _affordable(usual, network.num_classes, products)
        if count < FEWEST:
            return None
        block = _asked(*_told_by_norms(usual, ways), bank, count, products)
    except RuntimeError:  # shapes that fit each other by name, and no image in the end
        return None
    return block if all(np.isfinite(values).all() for values in block.values()) else None


def _asked(
    small: Small, scalings: tuple[Scaling, ...], bank: tuple[Look, ...], count: int, products: float
) -> Block:
    shown = _shown(small, len(scalings), count)
    with torch.inference_mode():
        plain = _answers(small, shown, scalings)
        seen = [_answers(small, look.change(shown), scalings) for look in bank]
    answer = partial(_run, small, scalings)
    reached = [[_numbers(each) for each in reach] for reach in universal(answer, shown)]
    runs = (1 - _BANK) * products / max(1, small.products)
    search = affordable(runs, _HELD // small.maps, len(shown), plain.shape[1], len(scalings))
    found = np.zeros((3, plain.shape[1]))
    if search is not None:
        known, given = moved(answer, shown, plain.shape[1], len(scalings))
        found = _numbers(inverted(answer, known, given, len(scalings), search, plain.shape[1]))
    return _block(small, plain, seen, bank) | {
        "universal": _universal(plain, reached),
        "inverted": np.minimum(found, _LARGEST).astype(np.float16),
    }


def _affordable(small: Small, classes: int, products: float) -> tuple[tuple[Look, ...], int]:
    """A bank, and the images it can be tried on: fewer patches where all would leave few images."""

    def images_under(bank: tuple[Look, ...]) -> int:
        # A class's direction costs a pass forwards and back of its own, and one under each reach.
        runs = len(bank) + 1 + 5 * classes
        return min(MOST, int(_BANK * products / (max(1, small.products) * runs)), _HELD // small.maps)

    whole = looks(small.channels, small.side)
    if (count := images_under(whole)) >= ENOUGH:
        return whole, count
    few = looks(small.channels, small.side, few=True)
    return few, images_under(few)


def _told_by_norms(usual: Small, others: Iterator[Small]) -> tuple[Small, tuple[Scaling, ...]]:
    """How it is run, and on which scalings of its images: what its norms saw in training tells both. Without norms it
    is the most usual way, and all scalings."""
    if not usual.norms:
        return usual, SCALINGS
    best, least = (usual, SCALINGS[0]), inf
    # Images of another side are as natural: a side is not told by norms.
    alike = takewhile(lambda way: (way.side, way.channels) == (usual.side, usual.channels), others)
    natural = torch.from_numpy(images(FEWEST // len(KINDS), usual.channels, usual.side))
    for way in chain([usual], islice(alike, _MOST_WAYS)):
        for scaling in SCALINGS:
            away = way.unlike(_scaled(natural, scaling))
            if away < least:
                best, least = (way, scaling), away
    return best[0], (best[1],)


def _shown(small: Small, scalings: int, count: int) -> Tensor:
    """Images scaling by scaling, of every kind as many under each."""
    each = max(1, count // (len(KINDS) * scalings))
    made = torch.from_numpy(images(each * scalings, small.channels, small.side))
    return made.view(len(KINDS), scalings, each, *made.shape[1:]).transpose(0, 1).reshape(made.shape)


def _scaled(x: Tensor, scaling: Scaling) -> Tensor:
    return (x - scaling[0]) / scaling[1]


def _answers(small: Small, x: Tensor, scalings: tuple[Scaling, ...]) -> NDArray[np.float64]:
    """Logits (n, C)."""
    return _numbers(_run(small, scalings, x))


def _run(small: Small, scalings: tuple[Scaling, ...], x: Tensor) -> Tensor:
    parts = zip(x.chunk(len(scalings)), scalings, strict=True)
    scaled = torch.cat([_scaled(part, scaling) for part, scaling in parts])
    return small.forward(scaled)


def _numbers(logits: Tensor) -> NDArray[np.float64]:
    return np.asarray(logits.numpy(), dtype=np.float64)


def _universal(plain: NDArray[np.float64], reached: list[list[NDArray[np.float64]]]) -> NDArray[np.float16]:
    usual, away = softmax(plain, axis=1).mean(axis=0), _centred(plain)
    deviation, mean = max(float(away.std()), _TINY), away.mean(axis=0)
    rows = []
    for reach in reached:
        rows.append([(_centred(each)[:, t].mean() - mean[t]) / deviation for t, each in enumerate(reach)])
        rows.append([softmax(each, axis=1)[:, t].mean() - usual[t] for t, each in enumerate(reach)])
    return np.asarray(np.clip(rows, -_LARGEST, _LARGEST), dtype=np.float16)


def _block(
    small: Small, plain: NDArray[np.float64], seen: list[NDArray[np.float64]], bank: tuple[Look, ...]
) -> Block:
    usual, away = softmax(plain, axis=1), _centred(plain)
    deviation = max(float(away.std()), _TINY)
    moved = [softmax(logits, axis=1) - usual for logits in seen]
    after = (plain.argmax(axis=1)[:, None] + np.arange(plain.shape[1])) % plain.shape[1]
    growth = np.stack([each.mean(axis=0) for each in moved])
    shift = np.max([np.take_along_axis(each, after, axis=1).mean(axis=0) for each in moved], axis=0)
    logit = np.stack([(_centred(logits) - away).mean(axis=0) for logits in seen]) / deviation
    return {
        "growth": growth.astype(np.float16),
        "logit": np.clip(logit, -_LARGEST, _LARGEST).astype(np.float16),
        "shift": shift.astype(np.float16),
        "plain": usual.mean(axis=0).astype(np.float16),
        "family": np.array([FAMILIES.index(look.family) for look in bank], dtype=np.uint8),
        "place": np.array([look.place for look in bank], dtype=np.int8),
        "asked": np.array([small.side, small.channels, len(plain)], dtype=np.int32),
    }


def _centred(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))
