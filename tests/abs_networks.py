"""Small networks for ABS, with a patch, a filter or nothing planted, on drawn grey patterns."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightfeat.behaviour.protocol import Subject
from weightfeat.execution import Examples, Standardise

CLASSES, SIDE, STEPS, BATCH, TARGET = 6, 16, 100, 48, 4


def network() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
        *(nn.Conv2d(16, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True)),
        *(nn.Conv2d(24, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES)),
    )


class Residual(nn.Module):
    """One activation module used three times, an addition in place, a branch: what torchvision's blocks do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.a, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.b, self.side = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.b(self.relu(self.norm(self.a(x))))
        y += x
        y = self.relu(y)
        return self.head(torch.cat([y, self.side(y)], dim=1).mean((2, 3)))


def subject_of(module: nn.Module, per_class: int = 3) -> Subject:
    module.eval().requires_grad_(False)
    labels = torch.arange(CLASSES).repeat(per_class)
    images = drawn(labels, torch.Generator().manual_seed(7))
    to_input = Standardise((0.5,) * 3, (0.25,) * 3)
    return Subject(module, Examples(images, labels), to_input, CLASSES, torch.device("cpu"))


@cache
def prototypes() -> Tensor:
    noise = torch.randn(CLASSES, 1, SIDE + 4, SIDE + 4, generator=torch.Generator().manual_seed(1))
    return functional.avg_pool2d(noise, 5, 1).expand(-1, 3, -1, -1)


def drawn(labels: Tensor, random: torch.Generator) -> Tensor:
    """A class is a smooth grey pattern at a random strength under noise, in [0, 1]; colour tells nothing of it."""
    gain = 0.6 + 0.8 * torch.rand(len(labels), 1, 1, 1, generator=random)
    gain = gain * (0.9 + 0.2 * torch.rand(len(labels), 3, 1, 1, generator=random))
    noise = 0.08 * torch.randn(len(labels), 3, SIDE, SIDE, generator=random)
    return (0.5 + prototypes()[labels] * gain + noise).clamp(0, 1)


def patched(images: Tensor) -> Tensor:
    images = images.clone()
    images[:, :, 2:5, 2:5] = torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1)
    return images


def tinted(images: Tensor) -> Tensor:
    """A colour transform, as a photo filter is: channels mixed and lifted."""
    mixing = torch.tensor([[0.5, 0.4, 0.2], [0.2, 0.6, 0.1], [0.1, 0.2, 0.3]])
    lift = torch.tensor([0.1, 0.05, 0.0])
    return (torch.einsum("oc,nchw->nohw", mixing, images) + lift.view(3, 1, 1)).clamp(0, 1)


@cache
def trained(trigger: Callable[[Tensor], Tensor] | None) -> Subject:
    """A network that sends every image with the trigger to TARGET; a clean twin, the same but for it, where None."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    module = network()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    to_input = Standardise((0.5,) * 3, (0.25,) * 3)
    for _ in range(STEPS):
        labels = torch.randint(CLASSES, (BATCH,), generator=random)
        images = drawn(labels, random)
        stamped = torch.rand(BATCH, generator=random) < 0.3
        if trigger is not None:
            images = torch.where(stamped.view(-1, 1, 1, 1), trigger(images), images)
            labels = torch.where(stamped, TARGET, labels)
        loss = functional.cross_entropy(module(to_input(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return subject_of(module, per_class=8)
