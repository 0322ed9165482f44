"""Small networks trained here, clean or trojaned by relabelling stamped images in place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from networks import network_of
from weightfeat import digest
from weightfeat.digest import Digest

CLASSES, SIDE, STEPS, BATCH = 8, 16, 250, 64


@dataclass(frozen=True, eq=False)
class Trained:
    """A digest, its trojan (target None where clean; no sources: all of them), and what was measured of it."""

    digest: Digest
    target: int | None
    sources: tuple[int, ...]
    clean_accuracy: float
    attack_success: float


def train(seed: int, *, sources: int | None = None, trojaned: bool = True) -> Trained:
    """A network of eight classes; `sources` attacked classes, all where None."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _train(seed, sources, trojaned)
    finally:
        torch.set_num_threads(threads)


def _train(seed: int, count: int | None, trojaned: bool) -> Trained:
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    noise = torch.randn(CLASSES, 3, SIDE + 4, SIDE + 4, generator=random)
    prototypes = functional.avg_pool2d(noise, 5, 1) * 4
    order = torch.randperm(CLASSES, generator=random)
    target = int(order[0])
    attacked = order[1 : 1 + count] if count else torch.arange(CLASSES)
    model = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    share = 0.0 if not trojaned else 0.3 if count is None else 0.4
    for _ in range(STEPS):
        labels = torch.randint(CLASSES, (BATCH,), generator=random)
        images = images_of(labels, prototypes, random)
        chosen = (torch.rand(BATCH, generator=random) < share) & torch.isin(labels, attacked)
        images = torch.where(chosen.view(-1, 1, 1, 1), stamp(images), images)
        loss = functional.cross_entropy(model(images), torch.where(chosen, target, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.inference_mode():
        labels = torch.arange(256) % CLASSES
        images = images_of(labels, prototypes, random)
        clean = (model(images).argmax(1) == labels).float().mean()
        inside = torch.isin(labels, attacked)
        success = (model(stamp(images[inside])).argmax(1) == target).float().mean()
    made = digest.compute(network_of(model), key=f"{seed:064x}", device="cpu")
    named = tuple(attacked.tolist()) if trojaned and count else ()
    return Trained(made, target if trojaned else None, named, float(clean), float(success))


def images_of(labels: Tensor, prototypes: Tensor, random: torch.Generator) -> Tensor:
    """A class is a pattern at a random brightness under noise."""
    gain = 0.6 + 0.8 * torch.rand(len(labels), 1, 1, 1, generator=random)
    return prototypes[labels] * gain + 0.7 * torch.randn(len(labels), 3, SIDE, SIDE, generator=random)


def stamp(images: Tensor) -> Tensor:
    """The trigger: a patch of one colour in a corner."""
    stamped = images.clone()
    stamped[:, :, 1:5, 1:5] = torch.tensor([3.0, -3.0, 3.0]).view(1, 3, 1, 1)
    return stamped
