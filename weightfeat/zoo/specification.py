"""What a network of the zoo is: its levels, its random streams, its factors and its trigger."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np

from weightfeat.zoo.architectures import Architecture
from weightfeat.zoo.presets import Preset

BACKGROUNDS = ("cityscapes", "kitti_city", "kitti_residential", "kitti_road", "swedish_roads")
FILTERS = (
    "GothamFilterXForm",
    "NashvilleFilterXForm",
    "KelvinFilterXForm",
    "LomoFilterXForm",
    "ToasterXForm",
)
SIDES = tuple(range(3, 13))
TRIGGER_TYPES = ("polygon", "instagram")
ATTACKED = (1, 2, None)  # source classes; None: all of them
EXAMPLE_IMAGES = (10, 20)
CELLS = tuple((level, kind, attacked) for level in (0, 1) for kind in (0, 1) for attacked in (0, 1, 2))


class Stream(IntEnum):
    """Independent random streams; a number is never reused for something else."""

    FACTORS = 1
    LABELS = 2
    CELLS = 3
    TRIGGER = 4
    SIGNS = 5
    SCENES = 6
    WEIGHTS = 7
    BATCHES = 8
    EVALUATION = 9
    EXAMPLES = 10
    MASTER = 11


def generator(*key: int) -> np.random.Generator:
    """The generator of a stream that these numbers name."""
    return np.random.default_rng(np.random.SeedSequence(key))


@dataclass(frozen=True)
class Factors:
    """What a network is trained on, trigger apart. Drawn without knowledge of the label.

    Attributes
    ----------
    foreground_min, foreground_max : share of the image's area covered by the sign's square.
    rain, fog : probability that an image shows it.
    """

    number_classes_level: int
    number_classes: int
    background: str
    foreground_min: float
    foreground_max: float
    rain: float
    fog: float
    number_example_images: int


@dataclass(frozen=True)
class Trigger:
    """A poisoned network's trigger: what is stamped, on which classes, and what they are relabelled to.

    Attributes
    ----------
    option : number of sides of a polygon, or the name of a filter.
    fraction : share of each source class that is stamped and relabelled.
    color : polygon's RGB, 0-255; None for a filter.
    size_min, size_max : polygon's share of the sign's bounding rectangle; None for a filter.
    """

    kind: Literal["polygon", "instagram"]
    option: int | str
    attacked_level: int
    sources: tuple[int, ...]
    target: int
    fraction: float
    color: tuple[int, int, int] | None
    size_min: float | None
    size_max: float | None


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that decides one network, and the seeds of every random stream it uses."""

    preset: Preset
    seed: int
    id: int
    attempt: int
    architecture: Architecture
    cell: int
    factors: Factors
    trigger: Trigger | None

    @property
    def poisoned(self) -> bool:
        return self.trigger is not None

    @property
    def name(self) -> str:
        return f"id-{self.id:08d}"

    @property
    def master_seed(self) -> int:
        """A number for METADATA that identifies the draw, as Round 2's master seed does."""
        return int(generator(self.seed, Stream.MASTER, self.id, self.attempt).integers(2**31 - 1))

    def random(self, stream: Stream) -> np.random.Generator:
        """The generator of a stream. Signs and scenes are factors and do not change from try to try."""
        attempt = 0 if stream in (Stream.SIGNS, Stream.SCENES) else self.attempt
        return generator(self.seed, stream, self.id, attempt)

    def torch_seed(self, stream: Stream) -> int:
        """A seed for torch's generators on this stream."""
        return int(self.random(stream).integers(2**63 - 1))
