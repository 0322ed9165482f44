"""From images in [0, 1], where triggers live, to what a network takes; every step can be differentiated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightfeat.errors import BadRound

CONFIG = "config.json"
MIN_MAX = "minmax"
MEAN_KEY, STD_KEY = "INPUT_MEAN", "INPUT_STD"


@dataclass(frozen=True)
class Standardise:
    """(image - mean) / std, each a number a channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> Tensor:
        mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (images - mean) / std

    def config(self) -> dict[str, Any]:
        """What `to_input_of` reads it back from."""
        return {MEAN_KEY: list(self.mean), STD_KEY: list(self.std)}


@dataclass(frozen=True)
class MinMax:
    """Round 2's: each image by itself is shifted and scaled to fill [0, 1]."""

    def __call__(self, images: Tensor) -> Tensor:
        low, high = (extreme(images, dim=(1, 2, 3), keepdim=True) for extreme in (torch.amin, torch.amax))
        return (images - low) / (high - low).clamp_min(1e-6)

    def config(self) -> dict[str, Any]:
        """Nothing: it is what is taken where nothing is said."""
        return {}


ToInput = Standardise | MinMax
"""Images (n, 3, h, w) in [0, 1] to a network's input of the same shape."""


def to_input_of(model: Path, stated: str | None = None) -> ToInput:
    """How images become this model's input.

    `stated` ("minmax", or "MEAN,STD" such as "0.5,0.25") wins; else INPUT_MEAN and INPUT_STD of the config.json
    beside the model, which the zoo writes; else Round 2's scaling.

    Raises BadRound for a statement or a config.json that says neither.
    """
    if stated is not None:
        return _stated(stated)
    config = _config(model.parent / CONFIG)
    if MEAN_KEY not in config and STD_KEY not in config:
        return MinMax()
    where = model.parent / CONFIG
    return _standardise(_channels(config.get(MEAN_KEY)), _channels(config.get(STD_KEY)), where)


def _stated(text: str) -> ToInput:
    if text == MIN_MAX:
        return MinMax()
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    half = len(numbers) // 2
    return _standardise(_channels(numbers[:half]), _channels(numbers[half:]), text)


def _standardise(
    mean: tuple[float, float, float] | None, std: tuple[float, float, float] | None, where: object
) -> ToInput:
    if mean is None or std is None or min(std) <= 0:
        raise BadRound(
            "says nothing usable about a network's input",
            where=where,
            expected="minmax, or a mean and a positive standard deviation, one number each or one a channel",
            remedy="state it, as in --input 0.5,0.25 or --input minmax",
        )
    return Standardise(mean, std)


def _channels(value: Any) -> tuple[float, float, float] | None:
    values = value if isinstance(value, list) else [value]
    if len(values) == 1:
        values = values * 3
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e6]
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == len(values) == 3 else None


def _config(path: Path) -> dict[str, Any]:
    """The JSON object at `path`; an empty one where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadRound(
            "is no JSON object", where=path, expected="the model's configuration", remedy="mend or remove it"
        )
    return value
