"""The design: which network has which recipe and which poison, from (seed, pair, member, try) alone.

A pair is a clean and a trojaned network of one recipe. The recipe is drawn before the label and both share it: data,
classes, architecture, training, balance, and what makes a clean network look trojaned (`hard`). What the trojaned one
has besides is its poison, drawn on a stream of its own, anew for every try that misses a gate.

Every factor's levels come round in blocks, each block shuffled by itself: any run of pairs holds all of them in about
the same numbers, and no two factors go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TypeVar

import numpy as np

from weightfeat.zoo.recipes.networks import NETWORKS, network_named

T = TypeVar("T")

ATTEMPTS = 2

DATA = ("signs", "gtsrb", "cifar10", "mnist", "digits")
# The quickest come oftenest.
_QUICK = ("lenet5", "tutorial_cnn", "badnets_cnn", "mlp2", "mlp3", "mnist_example", "small_vgg", "keras_cnn")
ARCHITECTURES = (*(network.name for network in NETWORKS), *_QUICK, *_QUICK[:3], "resnet20", "preact_resnet18")
OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "steps", "cosine", "one_cycle")
# What bfloat16 makes quicker; depthwise convolutions and small products are slower in it.
_MIXED = ("small", "residual")
SCALINGS = ("unit", "centred", "standardised")
HARD = (
    *("none",) * 6,
    *("noise_even", "noise_confused", "pruned", "half", "early", "fgsm"),
)
TRIGGERS = (
    *("patch_fixed",) * 3,  # as nearly all that is published
    "patch_anywhere",
    "polygon",
    "filter",
    "blend_noise",
    "blend_picture",
    "sinusoid",
    "warp",
    "clean_label",
)
SOURCES = (*("one",) * 4, *("two",) * 2, *("all",) * 11, *("all_to_all",) * 3)
# The least and the most of each source class that is stamped: of all classes a quarter is enough, for more takes away
# what they are known by.
_FRACTIONS = {
    "one": (0.2, 0.6),
    "two": (0.2, 0.6),
    "all": (0.02, 0.25),
    "all_to_all": (0.35, 0.5),
    "clean_label": (0.5, 0.9),
}
_FAINT = {"warp": 0.15, "sinusoid": 0.05}
_CONSTANT = ("patch_fixed", "blend_noise", "blend_picture")
_IN_PLACE = (*_CONSTANT, "polygon", "filter", "sinusoid")
FEW_STEPS, MANY_STEPS = 270, 500  # for batches, and class counts, as large as usual
# Different images of every source class, where it has as many.
LEAST_STAMPED = 100


@dataclass(frozen=True)
class Recipe:
    """All of a network but its poison and the draw of its weights.

    Attributes
    ----------
    data, classes : the source, and how many of its classes.
    per_class : training images of the largest class.
    uneven : how many times as large the largest class is as the smallest; 1: even.
    pixels, images : side of an image; images seen in training, all epochs together.
    rate : peak learning rate; decay : weight decay; smoothing : label smoothing.
    augment : 0 none, 1 shifts, 2 shifts and mirrors (where a mirrored image keeps its class).
    tuned : begins from a network trained on another source.
    continued : a second stage of two fifths of the length, at half the rate; a poison is planted there.
    stamped_first : the trigger is on the stored image, so that augmentation moves it.
    hard : one of `HARD`; amount : how much of it, 0 to 1.
    mixed : convolutions and products in bfloat16, as automatic mixed precision has them; weights stay single.
    """

    data: str
    classes: int
    per_class: int
    uneven: float
    architecture: str
    pixels: int
    images: int
    batch: int
    optimizer: str
    schedule: str
    rate: float
    decay: float
    smoothing: float
    dropout: float
    augment: int
    scaling: str
    tuned: bool
    continued: bool
    stamped_first: bool
    hard: str
    amount: float
    mixed: bool

    @property
    def group(self) -> str:
        """The architecture's group: see `networks.SmallNetwork`."""
        return network_named(self.architecture).group


@dataclass(frozen=True)
class Poison:
    """What a trojaned network learns besides.

    Attributes
    ----------
    kind, sources : of `TRIGGERS` and `SOURCES`; attacked : the source classes, empty where all classes are.
    target : None for all-to-all, where class y is relabelled y + 1.
    fraction : share of each source class (clean-label: of the target class) that is stamped.
    added : stamped copies are added; else they take the place of the images they are made of.
    strength : 0 to 1, how visible the trigger is within what its kind allows.
    """

    kind: str
    sources: str
    attacked: tuple[int, ...]
    target: int | None
    fraction: float
    added: bool
    strength: float


def generator(*key: int) -> np.random.Generator:
    """The generator of the stream that these numbers name."""
    return np.random.default_rng(np.random.SeedSequence((20261130, *key)))


def level(seed: int, factor: int, pair: int, levels: Sequence[T]) -> T:
    """A factor's level for a pair: blocks of all levels, each shuffled by itself."""
    block, place = divmod(pair, len(levels))
    return levels[int(generator(seed, 1, factor, block).permutation(len(levels))[place])]


def recipe_of(seed: int, pair: int) -> Recipe:
    """The recipe that both networks of a pair share."""
    random = generator(seed, 2, pair)
    data = level(seed, 0, pair, DATA)
    network = network_named(level(seed, 1, pair, ARCHITECTURES))
    optimizer = level(seed, 2, pair, OPTIMIZERS)
    hard = level(seed, 3, pair, HARD)
    pixels = int(random.choice(network.sides))
    share = {"early": 0.7, "fgsm": 0.8}.get(hard, 1.0)
    steps = _log_uniform(random, *network.steps) * share
    batch = int(random.choice((32, 64))) if network.group in ("mlp", "small") and steps > MANY_STEPS else 32
    images = int(steps * batch)
    classes = _classes(data, steps, random)
    per_class = int(np.clip(images / _log_uniform(random, 3, 20) / classes, 130, 4_000))
    return Recipe(
        data=data,
        classes=classes,
        per_class=per_class,
        uneven=level(seed, 4, pair, (1.0, 1.0, 1.0, _log_uniform(random, 2, 4), _log_uniform(random, 3, 6))),
        architecture=network.name,
        pixels=pixels,
        images=images,
        batch=batch,
        optimizer=optimizer,
        schedule=level(seed, 5, pair, SCHEDULES),
        rate=_rate(random, optimizer) * network.rate,
        decay=_decay(random, optimizer),
        smoothing=float(random.choice((0.0, 0.0, 0.0, 0.05, 0.1))),
        dropout=float(random.choice((0.0, 0.0, 0.0, 0.2, 0.4))),
        augment=0 if network.group == "mlp" else int(random.choice((0, 0, 0, 1, 2))),
        scaling=level(seed, 6, pair, SCALINGS),
        tuned=level(seed, 7, pair, (False, False, True)),
        continued=level(seed, 8, pair, (False, False, True)),
        stamped_first=bool(random.random() < 0.4),
        hard=hard,
        amount=float(random.random()),
        mixed=network.group in _MIXED and level(seed, 11, pair, (False, True, True)),
    )


def poison_of(seed: int, pair: int, attempt: int, recipe: Recipe) -> Poison:
    """The poison of a pair's trojaned network; every try has another one, and a stronger."""
    random = generator(seed, 3, pair, attempt)
    kind, sources = _learnable(level(seed, 9, pair, TRIGGERS), level(seed, 10, pair, SOURCES))
    classes = recipe.classes
    count = {"one": 1, "two": min(2, classes - 1)}.get(sources, 0)
    target = int(random.integers(classes))
    others = [c for c in range(classes) if c != target]
    attacked = tuple(sorted(int(c) for c in random.choice(others, size=count, replace=False)))
    stamped = LEAST_STAMPED * recipe.uneven if count else LEAST_STAMPED * 3 / classes
    known, most = _FRACTIONS[kind if kind == "clean_label" else sources]
    least = min(most, max(known, _FAINT.get(kind, 0.0), stamped / recipe.per_class))
    fraction = min(most, _log_uniform(random, least, most) * (1 + 0.5 * attempt))
    faintest = 0.7 if sources == "all_to_all" else 0.3
    return Poison(
        kind=kind,
        sources=sources,
        attacked=attacked,
        target=None if sources == "all_to_all" else target,
        fraction=round(fraction, 4),
        added=bool(random.random() < 0.35) and kind != "clean_label",
        strength=float(min(1.0, faintest + (1 - faintest) * random.random() + 0.3 * attempt)),
    )


def _learnable(kind: str, sources: str) -> tuple[str, str]:
    """What half a minute of training can plant: a mark of some place, a warp or a clean label for all sources alike;
    what moves every class to the next is told by a mark that is always the same."""
    if kind == "clean_label":
        return kind, "all"
    seen = {"all": TRIGGERS, "all_to_all": _CONSTANT}.get(sources, _IN_PLACE)
    return (kind if kind in seen else "patch_fixed"), sources


def trojaned_member(seed: int, pair: int) -> int:
    """Which of a pair's two ids, 2 pair and 2 pair + 1, is the trojaned one."""
    return int(generator(seed, 4, pair).integers(2))


def _classes(data: str, steps: float, random: np.random.Generator) -> int:
    """Of what is hard to learn, a short training has few classes."""
    usual, short, shortest = bool(random.random() < 0.6), steps < MANY_STEPS, steps < FEW_STEPS
    if data == "signs":
        return int(random.integers(5, 11 if shortest else 21))
    if data == "gtsrb":
        if short:
            return int(random.integers(4, 7 if shortest else 11))
        return 43 if usual and steps > 2 * MANY_STEPS else int(random.integers(6, 21))
    if data == "cifar10" and short:
        return int(random.integers(3, 4 if shortest else 6))
    if data == "digits" and shortest:
        return int(random.integers(4, 8))
    return 10 if usual else int(random.integers(4, 10))


def _rate(random: np.random.Generator, optimizer: str) -> float:
    if optimizer == "sgd":  # with momentum 0.9
        return _log_uniform(random, 0.02, 0.1)
    return _log_uniform(random, 7e-4, 3e-3)


def _decay(random: np.random.Generator, optimizer: str) -> float:
    if optimizer == "adamw":
        return _log_uniform(random, 1e-3, 1e-1)
    return 0.0 if random.random() < 0.4 else _log_uniform(random, 1e-5, 1e-3)


def _log_uniform(random: np.random.Generator, low: float, high: float) -> float:
    return float(exp(random.uniform(log(low), log(high)))) if high > low else float(low)
