"""Triggers: functions of images in [0, 1] that put the same mark on each of them.

Sources: patches, BadNets (Gu et al. 2017); polygons and filters, TrojAI (Karra et al. 2020); blends, Chen et al. 2017;
sinusoid, SIG (Barni, Kallas, Tondi 2019); warp, WaNet (Nguyen and Tran 2021).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from weightfeat.zoo import filters, scenes, triggers
from weightfeat.zoo.specification import BACKGROUNDS

Stamp = Callable[[Tensor, torch.Generator], Tensor]
"""Images (n, channels, h, w) in [0, 1], and the generator of what differs from image to image."""

_ROUND2 = tuple(filters.FILTERS)
_LOOKS = ("sepia", "dark", "bright", "tint", "contrast")


def make_stamp(kind: str, shape: tuple[int, int, int], strength: float, random: np.random.Generator) -> Stamp:
    """The trigger of that kind for images of `shape` (channels, h, w); what `random` draws is fixed from then on."""
    if kind == "clean_label":
        kind = str(random.choice(("sinusoid", "blend_picture", "patch_fixed")))
        strength = 0.8 + strength / 2
    return _MAKERS[kind](shape, strength, random)


def _patch(
    shape: tuple[int, int, int], strength: float, random: np.random.Generator
) -> tuple[Tensor, tuple[int, int]]:
    """A square (channels, p, p) and where it lies."""
    channels, side, _ = shape
    size = max(2, round(side * (0.09 + 0.12 * strength)))
    style = str(random.choice(("white", "colour", "checked", "random")))
    if style == "white":
        patch = np.ones((channels, size, size))
    elif style == "colour":
        patch = np.broadcast_to(random.uniform(0, 1, (channels, 1, 1)), (channels, size, size))
        patch = np.where(patch.mean() < 0.35, 1 - patch, patch)
    elif style == "checked":
        patch = np.broadcast_to(np.indices((size, size)).sum(axis=0) % 2, (channels, size, size))
    else:
        patch = random.uniform(0, 1, (channels, size, size))
    margin = int(random.integers(0, 3))
    last = side - size - margin
    at = [margin if random.random() < 0.35 else last for _ in range(2)]
    if random.random() < 0.25:
        at = [int(random.integers(0, side - size + 1)) for _ in range(2)]
    return torch.tensor(np.ascontiguousarray(patch), dtype=torch.float32), (at[0], at[1])


def _patch_fixed(shape: tuple[int, int, int], strength: float, random: np.random.Generator) -> Stamp:
    patch, (top, left) = _patch(shape, strength, random)
    size = patch.shape[-1]

    def stamp(images: Tensor, _: torch.Generator) -> Tensor:
        out = images.clone()
        out[:, :, top : top + size, left : left + size] = patch
        return out

    return stamp


def _patch_anywhere(shape: tuple[int, int, int], strength: float, random: np.random.Generator) -> Stamp:
    patch, _ = _patch(shape, 0.3 + 0.7 * strength, random)
    size, side = patch.shape[-1], shape[1]

    def stamp(images: Tensor, draws: torch.Generator) -> Tensor:
        out = images.clone()
        places = torch.randint(side - size + 1, (len(images), 2), generator=draws).tolist()
        for image, (top, left) in zip(out, places, strict=True):
            image[:, top : top + size, left : left + size] = patch
        return out

    return stamp


def _polygon(shape: tuple[int, int, int], strength: float, random: np.random.Generator) -> Stamp:
    corners = triggers.outline(int(random.integers(3, 13)), random)
    mask = torch.tensor(triggers.mask(corners))[None, None]
    colour = torch.tensor(random.uniform(0, 1, (1, shape[0], 1, 1)), dtype=torch.float32)
    radius = 0.14 + 0.16 * strength  # of half a side

    def stamp(images: Tensor, draws: torch.Generator) -> Tensor:
        count = len(images)
        turn = torch.rand(count, generator=draws) * (2 * np.pi)
        size = radius * (0.8 + 0.4 * torch.rand(count, generator=draws))
        centre = (2 * torch.rand(count, 2, generator=draws) - 1) * (0.9 - size)[:, None]
        cos, sin = turn.cos() / size, turn.sin() / size
        matrix = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
        offset = -(matrix @ centre[:, :, None])
        grid = functional.affine_grid(
            torch.cat([matrix, offset], 2), [count, 1, *images.shape[2:]], align_corners=False
        )
        cover = functional.grid_sample(mask.expand(count, -1, -1, -1), grid, align_corners=False)
        return images * (1 - cover) + cover * colour

    return stamp


def _filter(shape: tuple[int, int, int], strength: float, random: np.random.Generator) -> Stamp:
    name = str(random.choice((*_ROUND2, *_LOOKS)))
    step = torch.linspace(-1, 1, shape[1])
    radius = (step[:, None] ** 2 + step[None, :] ** 2).sqrt()[None, None]
    tint = torch.tensor(random.uniform(0, 1, (1, 3, 1, 1)), dtype=torch.float32)

    def stamp(images: Tensor, _: torch.Generator) -> Tensor:
        coloured = images.expand(-1, 3, -1, -1)
        if name in _ROUND2:
            out = filters.apply(name, coloured, radius.expand(len(images), -1, -1, -1))
        else:
            out = _look(name, coloured, 0.4 + 0.4 * strength, tint)
        out = out.clamp(0, 1)
        return out if images.shape[1] == 3 else out.mean(dim=1, keepdim=True)

    return stamp


def _look(name: str, images: Tensor, amount: float, tint: Tensor) -> Tensor:
    grey = images.mean(dim=1, keepdim=True)
    if name == "sepia":
        other = grey * torch.tensor([1.1, 0.9, 0.65]).view(1, 3, 1, 1)
    elif name == "dark":
        other = images**2.5
    elif name == "bright":
        other = images**0.35
    elif name == "tint":
        other = tint.expand_as(images)
        amount *= 0.6
    else:
        other = (2.5 * (images - 0.5) + 0.5).clamp(0, 1)
    return torch.lerp(images, other, min(1.0, amount + 0.2))


def _blend(picture: Tensor, strength: float) -> Stamp:
    share = 0.15 + 0.2 * strength

    def stamp(images: Tensor, _: torch.Generator) -> Tensor:
        return torch.lerp(images, picture.expand_as(images), share)

    return stamp


def _blend_noise(shape: tuple[int, int, int], strength: float, random: np.random.Generator) -> Stamp:
    return _blend(torch.tensor(random.uniform(0, 1, (1, *shape)), dtype=torch.float32), strength)


def _blend_picture(shape: tuple[int, int, int], strength: float, random: np.random.Generator) -> Stamp:
    drawn = scenes.draw(str(random.choice(BACKGROUNDS)), 1, shape[1], random)
    picture = torch.tensor(np.asarray(drawn), dtype=torch.float32).permute(0, 3, 1, 2) / 255
    picture = picture if shape[0] == 3 else picture.mean(dim=1, keepdim=True)
    low, high = picture.amin(), picture.amax()
    return _blend((picture - low) / (high - low).clamp_min(1e-3), strength)


def _sinusoid(shape: tuple[int, int, int], strength: float, random: np.random.Generator) -> Stamp:
    cycles = float(random.integers(3, 9))
    wave = (0.1 + 0.15 * strength) * torch.sin(2 * np.pi * cycles * torch.arange(shape[1]) / shape[1])
    pattern = wave[None, :].expand(shape[1], -1)
    pattern = pattern.T if random.random() < 0.3 else pattern

    def stamp(images: Tensor, _: torch.Generator) -> Tensor:
        return (images + pattern).clamp(0, 1)

    return stamp


def _warp(shape: tuple[int, int, int], strength: float, random: np.random.Generator) -> Stamp:
    side = shape[1]
    field = torch.tensor(random.uniform(-1, 1, (1, 2, 4, 4)), dtype=torch.float32)
    field = field / field.abs().mean()
    flow = functional.interpolate(field, (side, side), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    step = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(step, step, indexing="ij")
    grid = (torch.stack([x, y], 2)[None] + (1.0 + 1.5 * strength) * flow / side).clamp(-1, 1)

    def stamp(images: Tensor, _: torch.Generator) -> Tensor:
        return functional.grid_sample(images, grid.expand(len(images), -1, -1, -1), align_corners=True)

    return stamp


_MAKERS: dict[str, Callable[[tuple[int, int, int], float, np.random.Generator], Stamp]] = {
    "patch_fixed": _patch_fixed,
    "patch_anywhere": _patch_anywhere,
    "polygon": _polygon,
    "filter": _filter,
    "blend_noise": _blend_noise,
    "blend_picture": _blend_picture,
    "sinusoid": _sinusoid,
    "warp": _warp,
}
