"""How large and how long: three presets from a demo of seconds to Round 2's own recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass

from weightfeat.errors import BadRound
from weightfeat.zoo.architectures import Architecture

MANY_SOURCES = 5
LARGEST_FRACTION = 50  # percent of a source class, as in Round 2


@dataclass(frozen=True)
class Preset:
    """The scale of a zoo: everything that is the same for all its networks.

    Attributes
    ----------
    pixels : side of a training image (an architecture may ask for more).
    class_levels : (centre, spread) a level; Round 2 draws centre + randint(-spread, spread), the upper end excluded.
    base_images, images_per_class : training images of a network = base + per_class * classes, times the
        architecture's `length`. Every image is drawn afresh.
    epochs : evaluations over the planned length.
    scenes : background scenes a network draws its crops from.
    stamped_per_source : a poisoned network's fraction is bounded below so that each source class shows this many
        stamped images over the training; where there are more than five sources, all together five times as many,
        for what many classes show is learned once.
    stamped_most : the largest share of all training images that is stamped. Stamping takes images away from the true
        classes; where all are sources, half of them is more than a short training can spare.
    trigger_least : the least share of a sign, in percent, that a polygon takes. Round 2's 2 % of a sign of a
        hundred pixels and more is a clear mark; of a sign of thirty pixels it is a speck no network here learns.
    stop : "schedule": a length planned before the label is known, the learning rate falling to nothing at its
        end; "patience": Round 2's constant rate until the validation loss stalls.
    clean_gate, triggered_gate : the accuracies, in percent, below which a network is not kept.
    """

    name: str
    pixels: int
    class_levels: tuple[tuple[int, int], tuple[int, int]]
    base_images: int
    images_per_class: int
    epochs: int
    scenes: int
    stamped_per_source: int
    trigger_least: int
    evaluation_images: int
    final_images: int
    stop: str = "schedule"
    learning_rate: float | None = None
    batch: int | None = None
    stamped_most: float = 0.5
    patience: int = 5
    loss_eps: float = 1e-3
    attempts: int = 4
    clean_gate: float = 99.0
    triggered_gate: float = 95.0

    def image_pixels(self, architecture: Architecture) -> int:
        """Side of this architecture's images."""
        return max(self.pixels, architecture.min_pixels)

    def class_counts(self, level: int) -> range:
        """The class counts that a level draws from."""
        centre, spread = self.class_levels[level]
        return range(centre - spread, centre + max(spread, 1))

    def batch_size(self, architecture: Architecture) -> int:
        """Images a step of this architecture's training."""
        return self.batch or architecture.batch

    def peak_rate(self, architecture: Architecture) -> float:
        """Largest learning rate of this architecture's training."""
        return self.learning_rate or architecture.learning_rate

    def images(self, architecture: Architecture, classes: int) -> int:
        """Training images planned for a network: a whole number of batches."""
        length = 1.0 if self.learning_rate is not None else architecture.length
        batch = self.batch_size(architecture)
        return batch * math.ceil(length * (self.base_images + self.images_per_class * classes) / batch)

    def fractions(self, architecture: Architecture, classes: int, sources: int) -> tuple[int, int]:
        """The least and the largest share of a source class that may be stamped, in whole percent."""
        shown = sources * self.images(architecture, classes) / classes
        wanted = self.stamped_per_source * min(sources, MANY_SOURCES)
        most = min(LARGEST_FRACTION, int(100 * self.stamped_most * classes / sources))
        return min(most, max(1, math.ceil(100 * wanted / shown))), most


ROUND2_LEVELS = ((10, 5), (20, 5))
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "tiny",
            pixels=48,
            class_levels=((5, 0), (6, 0)),
            base_images=4_000,
            images_per_class=600,
            epochs=4,
            scenes=64,
            stamped_per_source=250,
            trigger_least=10,
            evaluation_images=64,
            final_images=384,
        ),
        Preset(
            "cpu",
            pixels=64,
            class_levels=ROUND2_LEVELS,
            base_images=8_000,
            images_per_class=800,
            epochs=6,
            scenes=256,
            stamped_per_source=400,
            trigger_least=12,
            evaluation_images=128,
            final_images=1024,
            stamped_most=0.2,
        ),
        Preset(
            "round2",
            pixels=224,
            class_levels=ROUND2_LEVELS,
            base_images=100_000,
            images_per_class=0,
            epochs=100,
            scenes=1024,
            stamped_per_source=0,
            trigger_least=2,
            evaluation_images=4096,
            final_images=20_000,
            stop="patience",
            learning_rate=3e-4,
            batch=64,
        ),
    )
}


def preset(name: str) -> Preset:
    """The preset of that name; raises BadRound for any other."""
    if name not in PRESETS:
        raise BadRound(
            "unknown preset",
            where=name,
            expected="one of " + ", ".join(PRESETS),
            remedy="choose one of them with --preset",
        )
    return PRESETS[name]
