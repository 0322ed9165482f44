"""How one network's factors and trigger are drawn, as Round 2 draws them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightfeat.zoo import signs
from weightfeat.zoo.architectures import ARCHITECTURES
from weightfeat.zoo.presets import Preset
from weightfeat.zoo.specification import (
    ATTACKED,
    BACKGROUNDS,
    CELLS,
    EXAMPLE_IMAGES,
    TRIGGER_TYPES,
    Factors,
    Stream,
    Trigger,
    generator,
)

FOREGROUND_PERCENT = (20, 80)  # of the image's area; two different values a network
LARGEST_TRIGGER = 25  # percent of the sign's bounding rectangle; two different values a network
BRIGHTEST_TRIGGER = 200  # mean colour; a whiter trigger would vanish on a white sign
LEAST_CONTRAST = 90  # distance in RGB from the fill of one or two source signs, for the same reason


def draw_factors(preset: Preset, seed: int, id: int, level: int) -> Factors:
    """Everything but the trigger, from the id and the class level."""
    random = generator(seed, Stream.FACTORS, id)
    counts = preset.class_counts(level)
    foreground = sorted(random.choice(np.arange(*FOREGROUND_PERCENT), size=2, replace=False) / 100)
    return Factors(
        number_classes_level=level,
        number_classes=counts[int(random.integers(len(counts)))],
        background=str(random.choice(BACKGROUNDS)),
        foreground_min=float(foreground[0]),
        foreground_max=float(foreground[1]),
        rain=_weather(random),
        fog=_weather(random),
        number_example_images=int(random.choice(EXAMPLE_IMAGES)),
    )


def _weather(random: np.random.Generator) -> float:
    """Half of the networks see none; the others beta(1, 10), a tenth of the images on average."""
    present, probability = random.integers(2), random.beta(1, 10)
    return round(float(probability), 6) if present else 0.0


def draw_trigger(
    preset: Preset, seed: int, id: int, attempt: int, cell: int, option: int | str, classes: int
) -> Trigger:
    """A trigger of that cell and option for a network of `classes` classes; another one for every attempt."""
    random = generator(seed, Stream.TRIGGER, id, attempt)
    _, kind, attacked_level = CELLS[cell]
    attacked = ATTACKED[attacked_level] or classes
    shown = signs.choose(classes, generator(seed, Stream.SIGNS, id, 0))
    sources = sorted(int(c) for c in random.choice(classes, size=attacked, replace=False))
    # A class is never its own target, unless all classes are attacked.
    targets = [c for c in range(classes) if attacked == classes or c not in sources]
    least, most = preset.fractions(ARCHITECTURES[id % len(ARCHITECTURES)], classes, attacked)
    target = int(random.choice(targets))
    fraction = random.integers(least, most + 1) / 100
    fills = [signs.fill(sign) for c, sign in enumerate(shown) if c in sources and attacked < classes]
    color = random.integers(0, 256, size=3)
    while not _shows(color, fills):
        color = random.integers(0, 256, size=3)
    sizes = np.arange(preset.trigger_least, LARGEST_TRIGGER + 1)
    size = sorted(random.choice(sizes, size=2, replace=False) / 100)
    polygon = TRIGGER_TYPES[kind] == "polygon"
    return Trigger(
        kind="polygon" if polygon else "instagram",
        option=option,
        attacked_level=attacked_level,
        sources=tuple(sources),
        target=target,
        fraction=float(fraction),
        color=(int(color[0]), int(color[1]), int(color[2])) if polygon else None,
        size_min=float(size[0]) if polygon else None,
        size_max=float(size[1]) if polygon else None,
    )


def _shows(color: NDArray[np.int64], fills: list[signs.RGB]) -> bool:
    """Whether a trigger of this colour can be told from white and from the signs it lies on."""
    apart = all(np.linalg.norm(color - np.array(fill)) >= LEAST_CONTRAST for fill in fills)
    return bool(color.mean() <= BRIGHTEST_TRIGGER and apart)
