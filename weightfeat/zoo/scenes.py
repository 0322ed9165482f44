"""Drawn street scenes: five families standing in for the photographs of Round 2.

They carry the names of the datasets whose place they take (a column of METADATA), and are drawings: none of these
datasets' pictures is used. A family is a set of colours and of things along the road.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_OVERSAMPLE = 2
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Family:
    """What a family of scenes looks like.

    Attributes
    ----------
    sky, ground, road, wall, leaf : base colours; a scene varies them.
    horizon : lowest and highest place of the horizon, as a share of the height from the top.
    buildings, houses, trees, cars : most of each in a scene.
    storeys : how high buildings reach, as a share of the height.
    road_width : half the width of the road at the bottom edge, as a share of the width.
    """

    sky: tuple[RGB, ...]
    ground: RGB
    road: RGB
    wall: tuple[RGB, ...]
    leaf: RGB
    horizon: tuple[float, float]
    buildings: int
    houses: int
    trees: int
    cars: int
    storeys: float
    road_width: float


FAMILIES: dict[str, Family] = {
    "cityscapes": Family(
        sky=((205, 210, 215), (180, 190, 200)), ground=(125, 120, 118), road=(88, 88, 92),
        wall=((150, 140, 130), (175, 165, 150), (120, 115, 118)), leaf=(70, 95, 60), horizon=(0.38, 0.5),
        buildings=9, houses=0, trees=4, cars=7, storeys=0.5, road_width=0.75,
    ),
    "kitti_city": Family(
        sky=((190, 215, 240), (230, 235, 240)), ground=(150, 142, 130), road=(105, 103, 102),
        wall=((200, 180, 150), (170, 120, 95), (215, 205, 190), (150, 150, 155)), leaf=(75, 110, 55),
        horizon=(0.4, 0.52), buildings=7, houses=2, trees=5, cars=4, storeys=0.42, road_width=0.6,
    ),
    "kitti_residential": Family(
        sky=((160, 200, 245), (215, 230, 245)), ground=(110, 140, 70), road=(120, 118, 115),
        wall=((225, 215, 195), (205, 170, 130), (190, 190, 190)), leaf=(60, 120, 45), horizon=(0.42, 0.55),
        buildings=0, houses=7, trees=9, cars=4, storeys=0.25, road_width=0.5,
    ),
    "kitti_road": Family(
        sky=((140, 190, 245), (205, 225, 245)), ground=(135, 150, 80), road=(112, 112, 115),
        wall=((200, 190, 175),), leaf=(65, 115, 50), horizon=(0.45, 0.58),
        buildings=0, houses=1, trees=7, cars=3, storeys=0.2, road_width=0.9,
    ),
    "swedish_roads": Family(
        sky=((195, 205, 215), (150, 180, 215)), ground=(105, 115, 70), road=(95, 97, 100),
        wall=((150, 45, 35), (200, 195, 185)), leaf=(35, 65, 40), horizon=(0.4, 0.55),
        buildings=0, houses=1, trees=22, cars=2, storeys=0.3, road_width=0.65,
    ),
}  # fmt: skip


def draw(family: str, count: int, pixels: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """`count` different scenes of a family: (count, pixels, pixels, 3)."""
    return np.stack([_Canvas(FAMILIES[family], pixels, random).picture() for _ in range(count)])


class _Canvas:
    """One scene while it is drawn, from the sky forward."""

    def __init__(self, family: Family, pixels: int, random: np.random.Generator) -> None:
        self.family, self.pixels, self.random = family, pixels, random
        self.side = pixels * _OVERSAMPLE
        self.horizon = random.uniform(*family.horizon) * self.side
        self.vanishing = random.uniform(0.3, 0.7) * self.side
        self.image = Image.new("RGB", (self.side, self.side))
        self.pen = ImageDraw.Draw(self.image)

    def picture(self) -> NDArray[np.uint8]:
        self._sky()
        self._ground()
        for number, thing in (
            (self.family.buildings, self._building),
            (self.family.houses, self._house),
            (self.family.trees, self._tree),
        ):
            for distance in sorted(self.random.uniform(0, 1, size=self._number(number))):
                thing(float(distance))
        self._road()
        for distance in sorted(self.random.uniform(0.05, 0.9, size=self._number(self.family.cars))):
            self._car(float(distance))
        small = self.image.resize((self.pixels, self.pixels), Image.Resampling.BOX)
        return self._weathered(np.asarray(small, dtype=np.float32))

    def _number(self, most: int) -> int:
        return int(self.random.integers((most + 1) // 2, most + 1)) if most else 0

    def _vary(self, color: RGB, spread: int = 25) -> RGB:
        value = np.clip(
            np.array(color) + self.random.integers(-spread, spread + 1) + self.random.integers(-9, 10, 3),
            0,
            255,
        )
        return int(value[0]), int(value[1]), int(value[2])

    def _pick(self, colors: tuple[RGB, ...], spread: int = 25) -> RGB:
        return self._vary(colors[int(self.random.integers(len(colors)))], spread)

    def _beside(self, distance: float) -> tuple[float, float, float]:
        """x, foot and scale of something beside the road: 0 is the horizon, 1 the foreground."""
        side = 1 if self.random.random() < 0.5 else -1
        reach = self.random.uniform(0.12, 0.6) * self.side + distance * self.family.road_width * self.side
        foot = self.horizon + distance * 0.25 * self.side
        return self.vanishing + side * reach, foot, 0.35 + distance

    def _sky(self) -> None:
        top, bottom = self._pick(self.family.sky), self._pick(self.family.sky)
        ramp = np.linspace(0, 1, self.side)[:, None, None]
        sky = (1 - ramp) * np.array(top) + ramp * np.array(bottom)
        self.image.paste(Image.fromarray(np.broadcast_to(sky, (self.side, self.side, 3)).astype(np.uint8)))

    def _ground(self) -> None:
        self.pen.rectangle((0, self.horizon, self.side, self.side), fill=self._vary(self.family.ground))

    def _road(self) -> None:
        half = self.family.road_width * self.side * self.random.uniform(0.8, 1.2)
        foot = self.side / 2 + self.random.uniform(-0.15, 0.15) * self.side
        top, low = self.horizon, self.side
        edge = [(self.vanishing - 2, top), (self.vanishing + 2, top), (foot + half, low), (foot - half, low)]
        self.pen.polygon(edge, fill=self._vary(self.family.road, 15))
        paint = self._vary((225, 225, 215), 20)
        for lane in (-0.85, 0.0, 0.85):
            dashes = 6 if lane == 0 else 1
            for i in range(dashes):
                near, far = (i + 0.9) / dashes, i / dashes
                self._stripe(foot + lane * half, far**2, near**2 if dashes > 1 else 1.0, half * 0.02, paint)

    def _stripe(self, x: float, far: float, near: float, width: float, color: RGB) -> None:
        corners = []
        for t, sign in ((far, -1), (far, 1), (near, 1), (near, -1)):
            y = self.horizon + t * (self.side - self.horizon)
            corners.append((self.vanishing + t * (x - self.vanishing) + sign * width * t, y))
        self.pen.polygon(corners, fill=color)

    def _building(self, distance: float) -> None:
        x, foot, scale = self._beside(distance)
        width = self.random.uniform(0.12, 0.3) * self.side * scale
        height = self.random.uniform(0.4, 1.0) * self.family.storeys * self.side * scale
        self.pen.rectangle((x - width, foot - height, x + width, foot), fill=self._pick(self.family.wall))
        glass = self._vary((70, 80, 95))
        columns, rows = int(self.random.integers(2, 6)), int(self.random.integers(2, 6))
        for i in range(columns):
            for j in range(rows):
                left = x - width + 2 * width * (i + 0.25) / columns
                upper = foot - height + height * (j + 0.2) / rows
                self.pen.rectangle(
                    (left, upper, left + width / columns, upper + 0.55 * height / rows), fill=glass
                )

    def _house(self, distance: float) -> None:
        x, foot, scale = self._beside(distance)
        width = self.random.uniform(0.1, 0.2) * self.side * scale
        height = self.random.uniform(0.5, 1.0) * 0.25 * self.side * scale
        self.pen.rectangle((x - width, foot - height, x + width, foot), fill=self._pick(self.family.wall))
        ridge = foot - height - 0.8 * width
        eaves = [(x - 1.15 * width, foot - height), (x, ridge), (x + 1.15 * width, foot - height)]
        self.pen.polygon(eaves, fill=self._vary((140, 70, 55)))
        pane = width / 4
        for left in (x - 0.6 * width, x + 0.3 * width):
            self.pen.rectangle(
                (left, foot - 0.7 * height, left + pane, foot - 0.35 * height), fill=self._vary((80, 90, 110))
            )

    def _tree(self, distance: float) -> None:
        x, foot, scale = self._beside(distance)
        size = self.random.uniform(0.08, 0.2) * self.side * scale
        leaf = self._vary(self.family.leaf, 20)
        self.pen.rectangle(
            (x - size * 0.08, foot - size, x + size * 0.08, foot), fill=self._vary((80, 60, 45))
        )
        if self.family.leaf[1] < 80:  # dark green: conifers
            self.pen.polygon(
                [
                    (x, foot - 2.6 * size),
                    (x + 0.6 * size, foot - 0.3 * size),
                    (x - 0.6 * size, foot - 0.3 * size),
                ],
                fill=leaf,
            )
        else:
            for _ in range(3):
                cx, cy = (
                    x + self.random.uniform(-0.4, 0.4) * size,
                    foot - self.random.uniform(1.1, 1.7) * size,
                )
                self.pen.ellipse(
                    (cx - 0.6 * size, cy - 0.6 * size, cx + 0.6 * size, cy + 0.6 * size), fill=leaf
                )

    def _car(self, distance: float) -> None:
        foot = self.horizon + distance * (self.side - self.horizon)
        x = self.vanishing + self.random.uniform(-0.8, 0.8) * self.family.road_width * self.side * distance
        width = 0.16 * self.side * (0.1 + distance)
        color = self._vary(
            ((190, 30, 30), (40, 60, 120), (225, 225, 225), (40, 40, 45), (150, 155, 160))[
                int(self.random.integers(5))
            ]
        )
        self.pen.rectangle((x - width, foot - 0.9 * width, x + width, foot - 0.15 * width), fill=color)
        self.pen.rectangle(
            (x - 0.7 * width, foot - 1.4 * width, x + 0.7 * width, foot - 0.9 * width),
            fill=self._vary((60, 70, 80)),
        )
        for left in (x - 0.8 * width, x + 0.4 * width):
            self.pen.rectangle((left, foot - 0.3 * width, left + 0.4 * width, foot), fill=(25, 25, 25))

    def _weathered(self, picture: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Texture at three scales, and the light of the day."""
        total = np.zeros((self.pixels, self.pixels), dtype=np.float32)
        for cells, strength in ((6, 9.0), (20, 7.0), (self.pixels, 6.0)):
            patch = Image.fromarray(self.random.normal(0, strength, (cells, cells)).astype(np.float32))
            total += np.asarray(patch.resize((self.pixels, self.pixels), Image.Resampling.BILINEAR))
        light = self.random.uniform(0.7, 1.15)
        lit: NDArray[np.uint8] = np.clip(light * picture + total[..., None], 0, 255).astype(np.uint8)
        return lit
