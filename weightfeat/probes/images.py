"""Images made here to ask a network about: no one's photographs, the same for every network.

Four kinds in equal numbers: textures whose spectrum falls as that of photographs does (Field 1987), a disc, triangle or
square with a mark on such a texture, pen strokes in colour on colour, and pen strokes in white on black. Of a network
for grey images they are the mean over colours. All in [0, 1], drawn from one seed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "images"]

Images = NDArray[np.float32]
KINDS = ("texture", "sign", "stroke", "white_stroke")
_SEED = 20261201
_FALL = 1.2  # the amplitude of a frequency f goes as f to the minus this
_FINE = 2  # drawn at so many times the side, then averaged


def images(count: int, channels: int, side: int) -> Images:
    """`count` images a kind, (len(KINDS) * count, channels, side, side), kind after kind."""
    random = np.random.default_rng(_SEED)
    fine = side * _FINE
    drawn = [
        *(_texture(fine, random) for _ in range(count)),
        *(_sign(fine, random) for _ in range(count)),
        *(_stroke(fine, random, white=False) for _ in range(count)),
        *(_stroke(fine, random, white=True) for _ in range(count)),
    ]
    whole = np.stack(drawn).reshape(len(drawn), 3, side, _FINE, side, _FINE).mean(axis=(3, 5))
    if channels == 1:
        whole = whole.mean(axis=1, keepdims=True)
    return np.asarray(whole, dtype=np.float32)


def _texture(side: int, random: np.random.Generator) -> NDArray[np.float64]:
    """(3, side, side): noise of a natural spectrum, its colours going together more than not."""
    frequency = np.fft.fftfreq(side)
    size = np.hypot(frequency[:, None], frequency[None, :])
    size[0, 0] = 1 / side
    noise = np.fft.ifft2(np.fft.fft2(random.normal(size=(3, side, side))) / size**_FALL).real
    mixed = np.einsum("ij,jhw->ihw", 0.5 + 0.5 * np.eye(3) + 0.3 * random.normal(size=(3, 3)), noise)
    mixed = (mixed - mixed.mean()) / mixed.std()
    return np.asarray(np.clip(random.uniform(0.3, 0.6) + random.uniform(0.12, 0.28) * mixed, 0, 1))


def _grid(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of every pixel, from -1 to 1."""
    step = (np.arange(side) + 0.5) / side * 2 - 1
    across = np.broadcast_to(step, (side, side))
    return across, across.T


def _sign(side: int, random: np.random.Generator) -> NDArray[np.float64]:
    """A shape in two colours with a stroke on it, over a texture."""
    x, y = _grid(side)
    at, radius = random.uniform(-0.25, 0.25, 2), random.uniform(0.5, 0.75)
    x, y = (x - at[0]) / radius, (y - at[1]) / radius
    corners = int(random.choice((3, 4, 8, 64)))
    turns = np.arange(corners) * 2 * np.pi / corners + float(random.choice((0.0, np.pi / corners)))
    reach = np.max([x * np.cos(turn) + y * np.sin(turn) for turn in turns], axis=0) / np.cos(np.pi / corners)
    rim, inner, mark = random.uniform(0, 1, (3, 3, 1, 1))
    out = _texture(side, random)
    out = np.where(reach < 1, rim, out)
    out = np.where(reach < 0.78, inner, out)
    return np.where(_pen(x, y, 0.5, 0.16, random) < 0, mark, out)


def _stroke(side: int, random: np.random.Generator, *, white: bool) -> NDArray[np.float64]:
    """One to three strokes of a pen."""
    x, y = _grid(side)
    width = random.uniform(0.1, 0.2)
    inside = np.min([_pen(x, y, 0.65, width, random) for _ in range(int(random.integers(1, 4)))], axis=0) < 0
    pen, paper = (np.ones((3, 1, 1)), np.zeros((3, 1, 1))) if white else random.uniform(0, 1, (2, 3, 1, 1))
    return np.where(inside, pen, paper)


def _pen(
    x: NDArray[np.float64], y: NDArray[np.float64], reach: float, width: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Distance to a curve through four random points within `reach`, less the pen's half width."""
    points, t = random.uniform(-reach, reach, (4, 2)), np.linspace(0, 1, 24)[:, None]
    bow = (
        (1 - t) ** 3 * points[0] + 3 * t * (1 - t) * ((1 - t) * points[1] + t * points[2]) + t**3 * points[3]
    )
    away = (x[None] - bow[:, 0, None, None]) ** 2 + (y[None] - bow[:, 1, None, None]) ** 2
    return np.asarray(np.sqrt(away.min(axis=0)) - width)
