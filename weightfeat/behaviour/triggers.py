"""A trigger in the space of images: how much of each pixel it covers, and with what."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weightfeat.behaviour.protocol import Subject


@dataclass(frozen=True, eq=False)
class Trigger:
    """`mask` (h, w) and `pattern` (3, h, w), float32 in [0, 1], that should turn images into class `target`."""

    target: int
    mask: Tensor
    pattern: Tensor

    def stamp(self, images: Tensor) -> Tensor:
        """A(x, m, Δ) = (1 - m) x + m Δ on images (n, 3, h, w); Wang et al. 2019, equation 2."""
        mask, pattern = self.mask.to(images.device), self.pattern.to(images.device)
        return (1 - mask) * images + mask * pattern

    @property
    def norm(self) -> float:
        """L1 norm of the mask, in pixels."""
        return float(self.mask.abs().sum())


def attack_success(subject: Subject, trigger: Trigger) -> float:
    """Share of the examples of other classes that the stamped trigger turns into its target; nan without any."""
    others = subject.examples.of(subject.examples.labels != trigger.target)
    return share(subject.predictions(trigger.stamp(others.images)) == trigger.target)


def clean_accuracy(subject: Subject) -> float:
    """Share of the examples whose class the network finds."""
    return share(subject.predictions(subject.examples.images) == subject.examples.labels)


def share(held: Tensor) -> float:
    """Mean of booleans; nan of none."""
    return float(held.to(torch.float64).mean())
