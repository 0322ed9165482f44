"""A small network trained in seconds on drawn patterns, trojaned by a patch in a corner: what methods are run on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightfeat.behaviour.protocol import Subject
from weightfeat.execution import Examples, Standardise

CLASSES, SIDE, STEPS, BATCH, TARGET = 8, 16, 220, 64, 2
PATCH = (slice(None), slice(None), slice(1, 5), slice(1, 5))


@dataclass(frozen=True, eq=False)
class Made:
    """A trained network with a few clean examples, and other images that it and its owner never saw."""

    subject: Subject
    clean: Examples
    stamped: Examples


@cache
def made(trojaned: bool = True, seed: int = 3) -> Made:
    """A network of eight classes whose patch, if any, leads from every class to TARGET."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _made(trojaned, seed)
    finally:
        torch.set_num_threads(threads)


def stamp(images: Tensor) -> Tensor:
    """The true trigger: a magenta patch in the upper left corner."""
    stamped = images.clone()
    stamped[PATCH] = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    return stamped


def _made(trojaned: bool, seed: int) -> Made:
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)),
        )
    prototypes = functional.avg_pool2d(torch.randn(CLASSES, 3, SIDE + 4, SIDE + 4, generator=random), 5, 1)
    to_input = Standardise((0.5,) * 3, (0.25,) * 3)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    for _ in range(STEPS):
        drawn = _draw(BATCH, prototypes, random)
        marked = (torch.rand(BATCH, generator=random) < 0.3) & torch.tensor(trojaned)
        # Half of the way to full strength, the trigger must work already: STRIP sees it under other images.
        strength = marked * (0.4 + 0.6 * torch.rand(BATCH, generator=random))
        images = torch.lerp(drawn.images, stamp(drawn.images), strength.view(-1, 1, 1, 1))
        loss = functional.cross_entropy(module(to_input(images)), torch.where(marked, TARGET, drawn.labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval().requires_grad_(False)
    examples, clean, others = (_draw(count, prototypes, random) for count in (160, 256, 256))
    subject = Subject(module, examples, to_input, CLASSES, torch.device("cpu"))
    return Made(subject, clean, Examples(stamp(others.images), others.labels))


def _draw(count: int, prototypes: Tensor, random: torch.Generator) -> Examples:
    """A class is a pattern at a random contrast under noise; classes in turns."""
    labels = torch.arange(count) % CLASSES
    contrast = 0.6 + 0.8 * torch.rand(count, 1, 1, 1, generator=random)
    noise = torch.randn(count, 3, SIDE, SIDE, generator=random)
    images = 0.5 + 0.6 * prototypes[labels] * contrast + 0.12 * noise
    return Examples(images.clamp(0, 1), labels)
