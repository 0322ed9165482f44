"""A poisoned network's polygon: its outline, and where it lies on a sign."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_OVERSAMPLE = 4
MASK_PIXELS = 64


def outline(sides: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Corners (sides, 2) of an irregular polygon around the origin, the farthest at distance 1.

    Corners keep at least a third of their regular spacing, so that the number of sides shows.
    """
    angles = 2 * np.pi * (np.arange(sides) + random.uniform(-0.3, 0.3, size=sides)) / sides
    radii = random.uniform(0.7, 1.0, size=sides)
    radii /= radii.max()
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def area(corners: NDArray[np.float64]) -> float:
    """The polygon's area, by the shoelace formula."""
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def mask(corners: NDArray[np.float64], pixels: int = MASK_PIXELS) -> NDArray[np.float32]:
    """The polygon's coverage of a (pixels, pixels) square spanning [-1, 1]^2, in [0, 1]."""
    side = pixels * _OVERSAMPLE
    image = Image.new("L", (side, side))
    ImageDraw.Draw(image).polygon([((x + 1) * side / 2, (y + 1) * side / 2) for x, y in corners], fill=255)
    return np.asarray(image.resize((pixels, pixels), Image.Resampling.BOX), dtype=np.float32) / np.float32(
        255
    )


def picture(corners: NDArray[np.float64], color: tuple[int, int, int], pixels: int = 256) -> Image.Image:
    """The trigger by itself, coloured on a transparent ground: what trigger.png shows."""
    alpha = Image.fromarray((255 * mask(corners, pixels)).astype(np.uint8))
    image = Image.new("RGB", (pixels, pixels), color)
    image.putalpha(alpha)
    return image
