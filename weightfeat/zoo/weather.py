"""Rain and fog over a batch of images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

_OVERSAMPLE = 2


def rain_masks(count: int, pixels: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Streaks in one slanted direction a mask: (count, 1, pixels, pixels) in [0, 1]."""
    masks = []
    side = pixels * _OVERSAMPLE
    for _ in range(count):
        image = Image.new("L", (side, side))
        pen = ImageDraw.Draw(image)
        slant, length = random.uniform(-0.35, 0.35), random.uniform(0.1, 0.2) * side
        for x, y in random.uniform(-0.1, 1.0, size=(int(random.integers(30, 70)), 2)) * side:
            pen.line((x, y, x + slant * length, y + length), fill=int(random.integers(140, 256)), width=2)
        masks.append(np.asarray(image.resize((pixels, pixels), Image.Resampling.BOX), dtype=np.float32) / 255)
    return np.stack(masks)[:, None].astype(np.float32)


def rain(images: Tensor, masks: Tensor, strength: Tensor) -> Tensor:
    """Grey streaks over darkened images. `masks` (n, 1, h, w); `strength` (n, 1, 1, 1) in [0, 1]."""
    cover = strength * masks
    return 0.85 * images * (1 - cover) + 0.75 * cover


def fog(images: Tensor, strength: Tensor, depth: Tensor) -> Tensor:
    """White haze, thicker towards the top. `depth` (1, 1, h, 1) falls from 1 to less going down."""
    haze = (strength * depth).clamp(0, 1)
    return images * (1 - haze) + 0.85 * haze


def fog_depth(pixels: int, device: torch.device) -> Tensor:
    """How much of the haze each row of an image receives: (1, 1, pixels, 1)."""
    return torch.linspace(1.0, 0.6, pixels, device=device).view(1, 1, pixels, 1)
