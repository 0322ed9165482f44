"""Looks that triggers have: what an image is under each of them.

Patches at the places of a grid in flat colours and two patterns; changes of colour of the whole image; other pictures
blended in; waves. Of Round 2's filters none is here by its recipe: tints, contrasts, fades and vignettes stand for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import numpy as np
import torch
from torch import Tensor

from weightfeat.probes.images import images

__all__ = ["FAMILIES", "Look", "looks"]

FAMILIES = ("patch", "colour", "blend", "wave")
_SEED = 20261202
_PLACES, _FEW_PLACES = 5, 3  # a side
_SIZE = 0.15  # of the image's side
_COLOURS = {
    3: ((1, 1, 1), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)),
    1: ((1,), (0,), (0.5,)),
}


@dataclass(frozen=True, eq=False)
class Look:
    """`change` takes images (n, channels, side, side) in [0, 1] to others; `place` is a patch's, by rows, else -1."""

    family: str
    name: str
    place: int
    change: Callable[[Tensor], Tensor]


def looks(channels: int, side: int, *, few: bool = False) -> tuple[Look, ...]:
    """The bank for images of this size, always in the same order; `few` patches for a network that is dear to run."""
    random = np.random.default_rng(_SEED)
    return (
        *_patches(channels, side, random, few),
        *_colours(channels, side),
        *_blends(channels, side, random),
        *_waves(side),
    )


def _patches(channels: int, side: int, random: np.random.Generator, few: bool) -> list[Look]:
    size = max(2, round(_SIZE * side))
    checks = np.broadcast_to(np.indices((size, size)).sum(axis=0) % 2, (channels, size, size))
    kinds = {
        "".join(map(str, c)): np.broadcast_to(np.reshape(c, (-1, 1, 1)), checks.shape)
        for c in _COLOURS[channels]
    }
    kinds |= {"checks": checks, "random": random.uniform(0, 1, checks.shape)}
    if few:
        kinds = {name: kinds[name] for name in [*kinds][:2] + [*kinds][-2:]}
    places = _FEW_PLACES if few else _PLACES
    at = np.linspace(0, side - size, places).round().astype(int)
    return [
        Look(
            "patch",
            name,
            row * places + column,
            _patched(torch.tensor(np.array(patch, np.float32)), int(top), int(left)),
        )
        for name, patch in kinds.items()
        for row, top in enumerate(at)
        for column, left in enumerate(at)
    ]


def _patched(patch: Tensor, top: int, left: int) -> Callable[[Tensor], Tensor]:
    size = patch.shape[-1]

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :, top : top + size, left : left + size] = patch
        return x

    return change


def _colours(channels: int, side: int) -> list[Look]:
    step = torch.linspace(-1, 1, side)
    rim = (step[:, None] ** 2 + step[None, :] ** 2).clamp(0, 1)

    def grey(x: Tensor) -> Tensor:
        return x.mean(dim=1, keepdim=True)

    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "dark": lambda x: x**2.5,
        "bright": lambda x: x**0.4,
        "hard": lambda x: (2.5 * (x - 0.5) + 0.5).clamp(0, 1),
        "soft": lambda x: 0.35 * (x - 0.5) + 0.5,
        "pale": lambda x: 0.5 + 0.5 * x,
        "faded": lambda x: 0.5 * x,
        "vignette": lambda x: x * (1 - 0.75 * rim),
        "halo": lambda x: torch.lerp(x, torch.ones_like(x), 0.6 * rim),
        "negative": lambda x: 1 - x,
    }
    if channels == 3:
        changes |= {
            "grey": lambda x: grey(x).expand_as(x),
            "vivid": lambda x: torch.lerp(grey(x), x, 1.8).clamp(0, 1),
        }
        for hue in (
            (1, 0, 0),
            (0, 1, 0),
            (0, 0, 1),
            (1, 1, 0),
            (1, 0, 1),
            (0, 1, 1),
            (1, 0.6, 0.2),
            (0.2, 0.3, 0.6),
        ):
            changes[f"tint {hue}"] = _tinted(torch.tensor(hue, dtype=torch.float32).view(1, 3, 1, 1))
    return [Look("colour", name, -1, change) for name, change in changes.items()]


def _tinted(hue: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.lerp(x, hue.expand_as(x), 0.35)


def _blends(channels: int, side: int, random: np.random.Generator) -> list[Look]:
    noise = [random.uniform(0, 1, (channels, side, side)) for _ in range(8)]
    drawn = images(3, channels, side)[3:]  # signs and strokes
    pictures = {f"noise {i}": each for i, each in enumerate(noise)} | {
        f"picture {i}": each for i, each in enumerate(drawn)
    }
    return [
        Look("blend", name, -1, _blended(torch.tensor(np.array(picture, np.float32))))
        for name, picture in pictures.items()
    ]


def _blended(picture: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.lerp(x, picture.expand_as(x), 0.25)


def _waves(side: int) -> list[Look]:
    found = []
    for cycles in (3, 4, 5, 6, 7, 8):
        wave = 0.18 * torch.sin(2 * pi * cycles * torch.arange(side) / side)
        for name, pattern in (("across", wave[None, :]), ("down", wave[:, None])):
            found.append(Look("wave", f"{cycles} {name}", -1, _waved(pattern)))
    return found


def _waved(pattern: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: (x + pattern).clamp(0, 1)
