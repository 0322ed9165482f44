"""Drawn traffic signs: a shape, a colour scheme and a symbol; any two of a network differ in two of the three.

They stand in for Round 2's fictitious signs. Everything is polygons and lines in a unit square, no fonts, so that
the same seed gives the same sign with any version of the drawing library's resources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

MAX_SIGNS = 24
_OVERSAMPLE = 4

Point = tuple[float, float]
RGB = tuple[int, int, int]


def _regular(sides: int, turn: float = 0.0, radius: float = 1.0, squash: float = 1.0) -> list[Point]:
    angles = 2 * np.pi * (np.arange(sides) + turn) / sides - np.pi / 2
    return [(float(radius * np.cos(a)), float(squash * radius * np.sin(a))) for a in angles]


def _star(points: int, inner: float) -> list[Point]:
    radii = [1.0, inner] * points
    return [
        (r * float(np.sin(np.pi * i / points)), -r * float(np.cos(np.pi * i / points)))
        for i, r in enumerate(radii)
    ]


# Outlines inside [-1, 1]^2, y downwards.
SHAPES: dict[str, list[Point]] = {
    "circle": _regular(64),
    "triangle": [(0, -0.95), (1, 0.85), (-1, 0.85)],
    "yield": [(0, 0.95), (1, -0.85), (-1, -0.85)],
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "diamond": _regular(4),
    "pentagon": _regular(5),
    "hexagon": _regular(6, turn=0.5),
    "octagon": _regular(8, turn=0.5),
    "wide": [(-1, -0.62), (1, -0.62), (1, 0.62), (-1, 0.62)],
    "tall": [(-0.62, -1), (0.62, -1), (0.62, 1), (-0.62, 1)],
    "shield": [(-0.85, -0.95), (0.85, -0.95), (0.85, 0.15), (0, 1), (-0.85, 0.15)],
    "house": [(0, -1), (0.9, -0.3), (0.9, 0.9), (-0.9, 0.9), (-0.9, -0.3)],
}

# (border, fill, symbol)
SCHEMES: dict[str, tuple[RGB, RGB, RGB]] = {
    "prohibition": ((205, 20, 30), (245, 245, 245), (20, 20, 20)),
    "mandatory": ((240, 240, 240), (20, 70, 185), (245, 245, 245)),
    "warning": ((25, 25, 25), (250, 205, 20), (25, 25, 25)),
    "stop": ((245, 245, 245), (190, 15, 30), (245, 245, 245)),
    "direction": ((240, 240, 240), (10, 125, 60), (245, 245, 245)),
    "works": ((30, 30, 30), (245, 125, 15), (30, 30, 30)),
    "brown": ((240, 235, 220), (120, 70, 35), (240, 235, 220)),
    "night": ((235, 190, 30), (30, 30, 35), (235, 190, 30)),
    "violet": ((245, 245, 245), (120, 45, 150), (245, 245, 245)),
    "information": ((20, 90, 200), (240, 243, 248), (20, 90, 200)),
    "school": ((20, 100, 40), (190, 235, 60), (20, 60, 30)),
    "danger": ((200, 20, 40), (250, 215, 40), (200, 20, 40)),
}

# Strokes ("line", width, points) and areas ("area", 0, points) inside [-1, 1]^2.
Stroke = tuple[str, float, list[Point]]
_SHAFT = ("line", 0.34, [(0.0, 0.9), (0.0, -0.5)])
SYMBOLS: dict[str, list[Stroke]] = {
    "arrow": [_SHAFT, ("area", 0, [(0, -1), (0.65, -0.2), (-0.65, -0.2)])],
    "fork": [
        ("line", 0.3, [(0, 1), (0, 0.1), (-0.7, -0.8)]),
        ("line", 0.3, [(0, 0.1), (0.7, -0.8)]),
    ],
    "cross": [("line", 0.36, [(0, -0.9), (0, 0.9)]), ("line", 0.36, [(-0.9, 0), (0.9, 0)])],
    "saltire": [
        ("line", 0.34, [(-0.75, -0.75), (0.75, 0.75)]),
        ("line", 0.34, [(-0.75, 0.75), (0.75, -0.75)]),
    ],
    "bar": [("line", 0.5, [(-0.95, 0), (0.95, 0)])],
    "post": [("line", 0.5, [(0, -0.95), (0, 0.95)])],
    "two bars": [("line", 0.32, [(-0.9, -0.42), (0.9, -0.42)]), ("line", 0.32, [(-0.9, 0.42), (0.9, 0.42)])],
    "three posts": [("line", 0.26, [(x, -0.85), (x, 0.85)]) for x in (-0.7, 0.0, 0.7)],
    "disc": [("area", 0, _regular(40, radius=0.7))],
    "ring": [("line", 0.3, [*_regular(40, radius=0.75), _regular(40, radius=0.75)[0]])],
    "star": [("area", 0, _star(5, 0.42))],
    "chevron": [("line", 0.34, [(-0.5, -0.85), (0.45, 0), (-0.5, 0.85)])],
    "double chevron": [
        ("line", 0.26, [(-0.85, -0.75), (-0.05, 0), (-0.85, 0.75)]),
        ("line", 0.26, [(0.0, -0.75), (0.8, 0), (0.0, 0.75)]),
    ],
    "zigzag": [("line", 0.3, [(-0.9, 0.6), (-0.35, -0.6), (0.25, 0.6), (0.85, -0.6)])],
    "two dots": [("area", 0, [(x + c, y) for x, y in _regular(24, radius=0.36)]) for c in (-0.5, 0.5)],
    "four dots": [
        ("area", 0, [(x + cx, y + cy) for x, y in _regular(20, radius=0.28)])
        for cx in (-0.5, 0.5)
        for cy in (-0.5, 0.5)
    ],
    "wedge": [("area", 0, [(0, -0.8), (0.85, 0.7), (-0.85, 0.7)])],
    "box": [("line", 0.28, [(-0.65, -0.65), (0.65, -0.65), (0.65, 0.65), (-0.65, 0.65), (-0.65, -0.8)])],
    "hourglass": [("area", 0, [(-0.75, -0.85), (0.75, -0.85), (-0.75, 0.85), (0.75, 0.85)])],
    "half": [("area", 0, [(-0.1, -0.85), (0.8, -0.85), (0.8, 0.85), (-0.1, 0.85)])],
    "ell": [("line", 0.36, [(-0.45, -0.9), (-0.45, 0.65), (0.75, 0.65)])],
    "tee": [("line", 0.34, [(-0.85, -0.65), (0.85, -0.65)]), ("line", 0.34, [(0, -0.65), (0, 0.9)])],
    "aitch": [
        ("line", 0.3, [(-0.6, -0.85), (-0.6, 0.85)]),
        ("line", 0.3, [(0.6, -0.85), (0.6, 0.85)]),
        ("line", 0.3, [(-0.6, 0), (0.6, 0)]),
    ],
    "diamonds": [("area", 0, [(0, -0.95), (0.55, 0), (0, 0.95), (-0.55, 0)])],
}


@dataclass(frozen=True)
class Sign:
    """A class of a network: names into SHAPES, SCHEMES and SYMBOLS, and a small shift of its colours."""

    shape: str
    scheme: str
    symbol: str
    tint: RGB = (0, 0, 0)

    def differs(self, other: Sign) -> int:
        """In how many of the three attributes the two differ."""
        mine, theirs = (self.shape, self.scheme, self.symbol), (other.shape, other.scheme, other.symbol)
        return sum(a != b for a, b in zip(mine, theirs, strict=True))


def choose(classes: int, random: np.random.Generator) -> tuple[Sign, ...]:
    """Distinct signs, one a class: any two differ in at least two attributes.

    Up to twelve classes each have their own colours; beyond that two share a scheme, with other shapes and symbols.
    """
    if not 1 <= classes <= MAX_SIGNS:
        raise ValueError(f"between 1 and {MAX_SIGNS} classes, not {classes}")
    schemes = [name for _ in range(MAX_SIGNS // len(SCHEMES)) for name in random.permutation(list(SCHEMES))]
    chosen: list[Sign] = []
    while len(chosen) < classes:
        tint = random.integers(-12, 13, size=3)
        sign = Sign(
            shape=str(random.choice(list(SHAPES))),
            scheme=str(schemes[len(chosen)]),
            symbol=str(random.choice(list(SYMBOLS))),
            tint=(int(tint[0]), int(tint[1]), int(tint[2])),
        )
        if all(sign.differs(other) >= 2 for other in chosen):
            chosen.append(sign)
    return tuple(chosen)


def draw(sign: Sign, pixels: int) -> Image.Image:
    """The sign as an RGBA image, pixels x pixels, transparent outside its outline."""
    side = pixels * _OVERSAMPLE
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    border, fill, ink = (_shift(color, sign.tint) for color in SCHEMES[sign.scheme])
    outline = np.array(SHAPES[sign.shape])
    centre = safe_disc(sign)[:2]
    pen.polygon(_place(outline, side), fill=border)
    pen.polygon(_place(centre + 0.8 * (outline - centre), side), fill=fill)
    scale = 0.68 * safe_disc(sign)[2]
    for kind, width, points in SYMBOLS[sign.symbol]:
        placed = _place(centre + scale * np.array(points), side)
        if kind == "area":
            pen.polygon(placed, fill=ink)
        else:
            pen.line(placed, fill=ink, width=max(1, round(scale * width * side / 2)), joint="curve")
    return image.resize((pixels, pixels), Image.Resampling.BOX)


def safe_disc(sign: Sign) -> NDArray[np.float64]:
    """Centre x, y and radius of the largest disc around the outline's centroid that stays inside it."""
    points = np.array(SHAPES[sign.shape], dtype=float)
    ahead = np.roll(points, -1, axis=0)
    cross = points[:, 0] * ahead[:, 1] - ahead[:, 0] * points[:, 1]
    centroid = ((points + ahead) * cross[:, None]).sum(axis=0) / (3 * cross.sum())
    edge = ahead - points
    offset = points - centroid
    distance = np.abs(edge[:, 0] * offset[:, 1] - edge[:, 1] * offset[:, 0]) / np.linalg.norm(edge, axis=1)
    return np.array([*centroid, distance.min()])


def bounding_area(sign: Sign) -> float:
    """Area of the rectangle around the outline: what Round 2's code takes for the sign's area."""
    width, height = np.ptp(np.array(SHAPES[sign.shape]), axis=0)
    return float(width * height)


def fill(sign: Sign) -> RGB:
    """The colour of the sign's plain area."""
    red, green, blue, _ = _shift(SCHEMES[sign.scheme][1], sign.tint)
    return red, green, blue


def sheet(signs: tuple[Sign, ...], pixels: int) -> NDArray[np.float32]:
    """All signs as (classes, 4, pixels, pixels) in [0, 1], colours multiplied by alpha."""
    images = np.stack([np.asarray(draw(sign, pixels), dtype=np.float32) for sign in signs]) / 255
    images[..., :3] *= images[..., 3:]
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _shift(color: RGB, tint: RGB) -> tuple[int, int, int, int]:
    red, green, blue = (int(np.clip(c + t, 0, 255)) for c, t in zip(color, tint, strict=True))
    return red, green, blue, 255


def _place(points: NDArray[Any], side: int) -> list[tuple[float, float]]:
    """Unit-square points on a canvas, with a margin of two percent."""
    return [((0.98 * x + 1) * side / 2, (0.98 * y + 1) * side / 2) for x, y in points]
