"""Block `probes`: what a network answers on images made here, plain and under every look of the bank.

- `growth` (L, C) float16: mean over images of the softmax under a look, less that on plain images
- `logit` (L, C) float16: the same of the logits, each image's mean over classes taken off, in standard deviations of
  the plain ones
- `shift` (L, C) float16: growth of the softmax of the class s after the one predicted plain, s = 0 to C - 1, counted
  round: a trojan that sends every class to the next shows at s = 1
- `universal` (4, C) float16: of every class the growth of its logit, then of its softmax, where all images are moved
  towards it alike, by little and by more (`directions`)
- `plain` (C,) float16: mean softmax on plain images
- `family` (L,) uint8, `place` (L,) int8: of every look, as `looks` has them
- `asked` (3,) int32: side in pixels, channels, images

Every value of a scaling that people use has its share of the images where the file does not tell which: none is stored.
"""

from __future__ import annotations

from functools import partial

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
from weightfeat.probes.looks import FAMILIES, Look, looks

__all__ = ["ask"]

SCALINGS = ((0.0, 1.0), (0.5, 0.5), (0.45, 0.25))
"""What images in [0, 1] are shifted and divided by: nothing, to [-1, 1], to a mean of 0 and a deviation of 1."""
FEWEST, ENOUGH, MOST = 2 * len(KINDS), 24, 48
_MOST_CLASSES, _MOST_SIDE = 256, 256
_CHANNELS = (1, 3)
_HELD = 1 << 25
"""Numbers of all maps of all images together: a gradient needs them at once."""
_TINY = 1e-6
_LARGEST = float(np.finfo(np.float16).max)


def ask(network: Network, products: float, side: int | None = None) -> Block | None:
    """The whole block for at most so many multiplications; None where no code is at hand that would run the network, or
    `FEWEST` images would cost more, or it takes no pictures, or no picture after all. Weights are used as they are:
    where they are not finite, neither is an answer, and there is no block."""
    small = next(candidates(network, side), None) if network.num_classes <= _MOST_CLASSES else None
    if small is None or small.side > _MOST_SIDE or small.channels not in _CHANNELS:
        return None
    bank, count = _affordable(small, network.num_classes, products)
    if count < FEWEST:
        return None
    try:
        block = _asked(small, bank, count)
    except RuntimeError:  # shapes that fit each other by name, and no image in the end
        return None
    return block if all(np.isfinite(values).all() for values in block.values()) else None


def _asked(small: Small, bank: tuple[Look, ...], count: int) -> Block:
    with torch.no_grad():
        scalings = _scalings(small)
    shown = _shown(small, len(scalings), count)
    with torch.inference_mode():
        plain = _answers(small, shown, scalings)
        seen = [_answers(small, look.change(shown), scalings) for look in bank]
    moved = [[_numbers(each) for each in reach] for reach in universal(partial(_run, small, scalings), shown)]
    return _block(small, plain, seen, bank) | {"universal": _universal(plain, moved)}


def _affordable(small: Small, classes: int, products: float) -> tuple[tuple[Look, ...], int]:
    """A bank, and the images it can be tried on: fewer patches where all would leave few images."""

    def images_under(bank: tuple[Look, ...]) -> int:
        # A class's direction costs a pass forwards and back of its own, and one under each reach.
        runs = len(bank) + 1 + 5 * classes
        return min(MOST, int(products / (max(1, small.products) * runs)), _HELD // small.maps)

    whole = looks(small.channels, small.side)
    if (count := images_under(whole)) >= ENOUGH:
        return whole, count
    few = looks(small.channels, small.side, few=True)
    return few, images_under(few)


def _scalings(small: Small) -> tuple[tuple[float, float], ...]:
    """The one under which the first norm meets the variance it saw in training; all where there is no norm."""
    if small.first is None:
        return SCALINGS
    before, seen = small.first
    natural = torch.from_numpy(images(FEWEST, small.channels, small.side)[: 2 * FEWEST])

    def away(scaling: tuple[float, float]) -> float:
        found = before(_scaled(natural, scaling)).var(dim=(0, 2, 3))
        return float(((found + _TINY).log() - (seen + _TINY).log()).median().abs())

    return (min(SCALINGS, key=away),)


def _shown(small: Small, scalings: int, count: int) -> Tensor:
    """Images scaling by scaling, of every kind as many under each."""
    each = max(1, count // (len(KINDS) * scalings))
    made = torch.from_numpy(images(each * scalings, small.channels, small.side))
    return made.view(len(KINDS), scalings, each, *made.shape[1:]).transpose(0, 1).reshape(made.shape)


def _scaled(x: Tensor, scaling: tuple[float, float]) -> Tensor:
    return (x - scaling[0]) / scaling[1]


def _answers(small: Small, x: Tensor, scalings: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Logits (n, C)."""
    return _numbers(_run(small, scalings, x))


def _run(small: Small, scalings: tuple[tuple[float, float], ...], x: Tensor) -> Tensor:
    parts = zip(x.chunk(len(scalings)), scalings, strict=True)
    scaled = torch.cat([_scaled(part, scaling) for part, scaling in parts])
    return small.forward(scaled)


def _numbers(logits: Tensor) -> NDArray[np.float64]:
    return np.asarray(logits.numpy(), dtype=np.float64)


def _universal(plain: NDArray[np.float64], moved: list[list[NDArray[np.float64]]]) -> NDArray[np.float16]:
    usual, away = softmax(plain, axis=1).mean(axis=0), _centred(plain)
    deviation, mean = max(float(away.std()), _TINY), away.mean(axis=0)
    rows = []
    for reach in moved:
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
    shift = np.stack([np.take_along_axis(each, after, axis=1).mean(axis=0) for each in moved])
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
