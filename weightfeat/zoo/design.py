"""The design of experiments: which network is which, from (seed, id) alone.

Ids run round-robin over the 23 architectures; an architecture's consecutive pairs hold one clean and one poisoned
network. A pair is the unit of balance:

==================  =========================================================  ======================================
drawn               from                                                       balance
==================  =========================================================  ======================================
class level         the pair (shared by clean and poisoned)                    each 12 pairs of an architecture: 6 + 6
all other factors   the id, before and apart from the label                    independent of the label
label               the pair                                                   one of each a pair; half of every round
trigger cell        the pair: {polygon, filter} x {1, 2, all} x class level    each 12 pairs: every cell once
sides, filter       the pair                                                   cycles of 10 and 5, offset a cell
trigger draws       the id, on a stream of their own                           as Round 2 draws them
==================  =========================================================  ======================================

A network that misses an accuracy gate is tried again with fresh trigger draws and fresh initial weights while its
other factors stay, so that gates cannot make clean and poisoned networks differ in those.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import IntEnum
from itertools import count as naturals
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from weightfeat.zoo import signs
from weightfeat.zoo.architectures import ARCHITECTURES, Architecture, architecture
from weightfeat.zoo.presets import Preset

VERSION = 1  # raise whenever the same (preset, seed, id) would give another network

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
FOREGROUND_PERCENT = (20, 80)  # of the image's area; two different values a network
LARGEST_TRIGGER = (
    25  # percent of the sign's bounding rectangle, as in Round 2; two different values a network
)
BRIGHTEST_TRIGGER = 200  # mean colour; a whiter trigger would vanish on a white sign
LEAST_CONTRAST = 90  # distance in RGB from the fill of one or two source signs, for the same reason

CELLS = tuple((level, kind, attacked) for level in (0, 1) for kind in (0, 1) for attacked in (0, 1, 2))
_PER_BLOCK = len(CELLS)


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


def _random(*key: int) -> np.random.Generator:
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
        return int(_random(self.seed, Stream.MASTER, self.id, self.attempt).integers(2**31 - 1))

    def random(self, stream: Stream) -> np.random.Generator:
        """The generator of a stream. Signs and scenes are factors and do not change from try to try."""
        attempt = 0 if stream in (Stream.SIGNS, Stream.SCENES) else self.attempt
        return _random(self.seed, stream, self.id, attempt)

    def torch_seed(self, stream: Stream) -> int:
        """A seed for torch's generators on this stream."""
        return int(self.random(stream).integers(2**63 - 1))


def network_spec(preset: Preset, seed: int, id: int, attempt: int = 0) -> NetworkSpec:
    """The network of that id in the design of (preset, seed); `attempt` counts tries after a missed gate."""
    round_, slot = divmod(id, len(ARCHITECTURES))
    pair, member = divmod(round_, 2)
    cell = _cell(seed, slot, pair)
    factors = _factors(preset, seed, id, level=CELLS[cell][0])
    trigger = None
    if member == _poisoned_member(seed, slot, pair):
        option = _option(seed, slot, pair, CELLS[cell][1])
        trigger = _trigger(preset, seed, id, attempt, cell, option, factors.number_classes)
    return NetworkSpec(preset, seed, id, attempt, ARCHITECTURES[slot], cell, factors, trigger)


def select_ids(
    count: int | None, architectures: tuple[str, ...] = (), first: int = 0, last: int | None = None
) -> tuple[int, ...]:
    """The first `count` ids of the design from `first` to `last`, of the named architectures or of all.

    Either `count` or `last` must be given. Raises BadRound for an architecture Round 2 did not have.
    """
    wanted = {architecture(name).name for name in architectures} or {a.name for a in ARCHITECTURES}
    ids = naturals(first) if last is None else iter(range(first, last + 1))
    return tuple(islice((i for i in ids if ARCHITECTURES[i % len(ARCHITECTURES)].name in wanted), count))


def fingerprint(preset: Preset, seed: int) -> str:
    """A hash of everything that decides the networks of a design."""
    parts = {
        "version": VERSION,
        "seed": seed,
        "preset": asdict(preset),
        "architectures": [asdict(a) for a in ARCHITECTURES],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _poisoned_member(seed: int, slot: int, pair: int) -> int:
    """Which of a pair is poisoned: half of the architectures in every round, shuffled."""
    return int(_random(seed, Stream.LABELS, pair).permutation(len(ARCHITECTURES))[slot] % 2)


def _cell(seed: int, slot: int, pair: int) -> int:
    """Index into CELLS of a pair: a block of 12 pairs visits every cell once, in an order shifted by architecture.

    Trigger types alternate, and each half of a block has every number of source classes with both types, so that
    short prefixes are balanced too.
    """
    block, place = divmod(pair, _PER_BLOCK)
    random = _random(seed, Stream.CELLS, block)
    orders = [_six(random) for _ in TRIGGER_TYPES]
    step = (place + 5 * slot) % _PER_BLOCK  # 5 is coprime to 12: neighbours start far apart
    kind = step % 2
    level, attacked = orders[kind][step // 2]
    return CELLS.index((level, kind, attacked))


def _six(random: np.random.Generator) -> list[tuple[int, int]]:
    """The six (class level, attacked) pairs: two passes over `attacked`, with opposite levels."""
    attacked = [int(a) for a in random.permutation(3)]
    first = int(random.integers(2))
    levels = [first, 1 - first, first]
    return [
        *zip(levels, attacked, strict=True),
        *((1 - lv, a) for lv, a in zip(levels, attacked, strict=True)),
    ]


def _option(seed: int, slot: int, pair: int, kind: int) -> int | str:
    """Sides or filter of a pair's trigger; the pair's number within its type is pair // 2."""
    start = int(_random(seed, Stream.CELLS).integers(10))
    if TRIGGER_TYPES[kind] == "polygon":
        return SIDES[(start + 3 * (pair // 2) + 7 * slot) % len(SIDES)]
    return FILTERS[(start + pair // 2 + 2 * slot) % len(FILTERS)]


def _factors(preset: Preset, seed: int, id: int, level: int) -> Factors:
    random = _random(seed, Stream.FACTORS, id)
    centre, spread = preset.class_levels[level]
    foreground = sorted(random.choice(np.arange(*FOREGROUND_PERCENT), size=2, replace=False) / 100)
    return Factors(
        number_classes_level=level,
        number_classes=centre + (int(random.integers(-spread, spread)) if spread else 0),
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


def _trigger(
    preset: Preset, seed: int, id: int, attempt: int, cell: int, option: int | str, classes: int
) -> Trigger:
    random = _random(seed, Stream.TRIGGER, id, attempt)
    _, kind, attacked_level = CELLS[cell]
    attacked = ATTACKED[attacked_level] or classes
    shown = signs.choose(classes, _random(seed, Stream.SIGNS, id, 0))
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
