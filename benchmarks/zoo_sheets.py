"""Contact sheets of what the zoo's networks see, drawn by the zoo's own renderer, for a person to look at.

    python benchmarks/zoo_sheets.py [--output docs/images] [--seed 2020]

Signs, polygon triggers, filters, rain and fog, background families, and training images as a network gets them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pictures import on_grey
from weightfeat.commands.arguments import natural
from weightfeat.commands.program import run
from weightfeat.files import make_folder
from weightfeat.zoo import scenes, signs, triggers, weather
from weightfeat.zoo.design import network_spec
from weightfeat.zoo.presets import preset
from weightfeat.zoo.render import Renderer
from weightfeat.zoo.specification import BACKGROUNDS, FILTERS, SIDES, NetworkSpec

PIXELS = 128  # of a picture on a sheet, unless it shows what a network sees
SEEN = 64  # side of the cpu preset's images
LABEL = 15
MARGIN = 4
CPU = torch.device("cpu")

Picture = NDArray[np.uint8]
Cell = tuple[str, Picture]


def main() -> int:
    """Write every sheet into --output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("docs/images"), metavar="DIR")
    parser.add_argument("--seed", type=natural, default=2020)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = make_folder(options.output, "folder of sheets")
    for name, draw in SHEETS.items():
        sheet(draw(options.seed)).save(folder / f"zoo_{name}.jpg", quality=88, optimize=True)
        print(folder / f"zoo_{name}.jpg", flush=True)
    return 0


def sheet(rows: list[list[Cell]]) -> Image.Image:
    """Pictures in rows, each with its label above it. Rows may hold pictures of different sizes."""
    widths = [sum(max(p.shape[1], MARGIN) + MARGIN for _, p in row) + MARGIN for row in rows]
    heights = [max(p.shape[0] for _, p in row) + LABEL + MARGIN for row in rows]
    page = Image.new("RGB", (max(widths), sum(heights) + MARGIN), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        left = MARGIN
        for label, picture in row:
            pen.text((left, top), label, fill="black", font=font)
            page.paste(Image.fromarray(picture), (left, top + LABEL))
            left += picture.shape[1] + MARGIN
        top += height
    return page


def sign_sheet(seed: int) -> list[list[Cell]]:
    """Every shape, colour scheme and symbol at least once: 24 signs, as no single network has them together."""
    shapes, schemes, symbols = list(signs.SHAPES), list(signs.SCHEMES), list(signs.SYMBOLS)
    cells = []
    for i, symbol in enumerate(symbols):
        sign = signs.Sign(
            shapes[i % len(shapes)], schemes[(i + 5 * (i // len(shapes))) % len(schemes)], symbol
        )
        drawn = on_grey(signs.draw(sign, PIXELS))
        cells += [(f"{sign.shape}, {sign.scheme}", drawn)]
    return [cells[i : i + 8] for i in range(0, len(cells), 8)]


def trigger_sheet(seed: int) -> list[list[Cell]]:
    """One network a number of sides: its trigger, then signs it is stamped on, large and as the network sees them."""
    rows: list[list[Cell]] = [[], [], [], []]
    for sides in SIDES:
        spec = _find(seed, partial(_has_option, option=sides))
        assert spec.trigger is not None
        assert spec.trigger.color is not None
        large, small = Renderer(_large(spec), CPU), Renderer(_plain(spec), CPU)
        assert large.corners is not None
        share = f"{spec.trigger.size_min:.0%}-{spec.trigger.size_max:.0%}"
        picture = triggers.picture(large.corners, spec.trigger.color, PIXELS)
        rows[0].append((f"{sides} sides, {share}", on_grey(picture)))
        source = torch.tensor(spec.trigger.sources[:1] * 2)
        for row, image in zip((1, 2), _draw(large, source, seed, stamped=True), strict=True):
            rows[row].append((f"on class {int(source[0])}", image))
        seen = _draw(small, source[:1], seed + 1, stamped=True)[0]
        rows[3].append((f"{SEEN} pixels, enlarged", _enlarged(seen)))
    return rows


def filter_sheet(seed: int) -> list[list[Cell]]:
    """The same pictures untouched and under each filter, a row a family of backgrounds."""
    rows = []
    for family in BACKGROUNDS:
        spec = _large(_find(seed, partial(_is_filter_on, background=family)))
        assert spec.trigger is not None
        label = torch.zeros(1, dtype=torch.long)
        row = [("untouched", _draw(Renderer(spec, CPU), label, seed, stamped=False)[0])]
        for name in FILTERS:
            renderer = Renderer(replace(spec, trigger=replace(spec.trigger, option=name)), CPU)
            row.append((_filter_name(name), _draw(renderer, label, seed, stamped=True)[0]))
        rows.append(row)
    return rows


def weather_sheet(seed: int) -> list[list[Cell]]:
    """Rain and fog from their weakest to their strongest in training, on the same pictures."""
    renderer = Renderer(_large(_find(seed, lambda s: s.factors.background == "kitti_city")), CPU)
    images = _tensor(renderer, torch.arange(3), seed)
    masks = torch.from_numpy(weather.rain_masks(3, PIXELS, np.random.default_rng(seed)))
    depth = weather.fog_depth(PIXELS, CPU)

    def strength(value: float) -> torch.Tensor:
        return torch.full((3, 1, 1, 1), value)

    kinds = [("clear", images)]
    kinds += [(f"rain {v}", weather.rain(images, masks, strength(v))) for v in (0.5, 0.75, 1.0)]
    kinds += [(f"fog {v}", weather.fog(images, strength(v), depth)) for v in (0.25, 0.4, 0.6)]
    return [[(name, _bytes(drawn)[i]) for name, drawn in kinds] for i in range(3)]


def background_sheet(seed: int) -> list[list[Cell]]:
    """Six scenes of each family."""
    return [
        [(family, scene) for scene in scenes.draw(family, 6, PIXELS, np.random.default_rng(seed))]
        for family in BACKGROUNDS
    ]


def training_sheet(seed: int) -> list[list[Cell]]:
    """What four networks are trained on, every augmentation applied, at the cpu preset's size; stamped where said."""
    rows: list[list[Cell]] = []
    for kind in (None, "polygon", "instagram", "polygon"):
        taken = [row[0][0].split(":")[0] for row in rows]
        spec = _find(seed, partial(_is_another, kind=kind, taken=taken))
        sources = spec.trigger.sources if spec.trigger else ()
        labels = torch.arange(10) % spec.factors.number_classes
        if sources:
            labels[5:] = torch.tensor([sources[i % len(sources)] for i in range(5)])
        stamped = torch.tensor([bool(sources) and i >= 5 for i in range(10)])
        random = torch.Generator().manual_seed(seed)
        drawn = Renderer(spec, CPU).draw(labels, stamped, random, augment=True)
        pictures = [_enlarged(p) for p in _bytes(drawn)]
        marks = [f" to {spec.trigger.target}" if s and spec.trigger else "" for s in stamped.tolist()]
        names = [f"class {c}{m}" for c, m in zip(labels.tolist(), marks, strict=True)]
        names[0] = f"{spec.name}: 0"
        rows.append(list(zip(names, pictures, strict=True)))
    return rows


SHEETS: dict[str, Callable[[int], list[list[Cell]]]] = {
    "signs": sign_sheet,
    "triggers": trigger_sheet,
    "filters": filter_sheet,
    "weather": weather_sheet,
    "backgrounds": background_sheet,
    "training": training_sheet,
}


def _find(seed: int, wanted: Callable[[NetworkSpec], bool]) -> NetworkSpec:
    """The first network of the cpu design that is wanted, with fewer scenes than it trains on.

    Inception is passed over: its images are larger than the others'.
    """
    small = replace(preset("cpu"), scenes=12)
    specs = (network_spec(small, seed, id) for id in range(10_000))
    return next(s for s in specs if small.image_pixels(s.architecture) == SEEN and wanted(s))


def _plain(spec: NetworkSpec) -> NetworkSpec:
    """The network in clear weather, its signs as large as they come."""
    factors = replace(spec.factors, rain=0.0, fog=0.0, foreground_min=0.6, foreground_max=0.8)
    return replace(spec, factors=factors)


def _large(spec: NetworkSpec) -> NetworkSpec:
    """The same at the size of a sheet's pictures."""
    return _plain(replace(spec, preset=replace(spec.preset, pixels=PIXELS)))


def _kind(spec: NetworkSpec) -> str | None:
    return spec.trigger.kind if spec.trigger else None


def _has_option(spec: NetworkSpec, option: int | str) -> bool:
    return spec.trigger is not None and spec.trigger.option == option


def _is_filter_on(spec: NetworkSpec, background: str) -> bool:
    return _kind(spec) == "instagram" and spec.factors.background == background


def _is_another(spec: NetworkSpec, kind: str | None, taken: list[str]) -> bool:
    return _kind(spec) == kind and spec.name not in taken


def _filter_name(name: str) -> str:
    return name.removesuffix("XForm").removesuffix("Filter")


def _tensor(renderer: Renderer, labels: torch.Tensor, seed: int, *, stamped: bool = False) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    marks = torch.full_like(labels, stamped, dtype=torch.bool)
    return renderer.draw(labels, marks, random, augment=False)


def _draw(renderer: Renderer, labels: torch.Tensor, seed: int, *, stamped: bool) -> Picture:
    return _bytes(_tensor(renderer, labels, seed, stamped=stamped))


def _bytes(images: torch.Tensor) -> Picture:
    """(n, 3, h, w) in [0, 1] to (n, h, w, 3)."""
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def _enlarged(picture: Picture) -> Picture:
    """Twice the size, pixels kept square."""
    return np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1)


if __name__ == "__main__":
    raise SystemExit(run(main))
