"""A guard before a network that may be trojaned: each image's class, or the number of classes where it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from weightfeat.behaviour.protocol import Subject
from weightfeat.behaviour.strip import Blend, Strip, blend_of, entropies, evenly, threshold_at


@dataclass(frozen=True)
class Guard:
    """STRIP with its threshold set on a network's clean examples."""

    subject: Subject
    blend: Blend
    threshold: float

    def judge(self, images: Tensor) -> Tensor:
        """Classes, int64 (n,), of images (n, 3, h, w); `num_classes` where an image seems to carry a trigger."""
        low = entropies(self.subject, images, self.blend) < self.threshold
        return torch.where(low, self.subject.num_classes, self.subject.predictions(images))


def guard_of(
    subject: Subject, how: Strip, seed: int = 0, on_image: Callable[[], object] | None = None
) -> Guard:
    """A guard that refuses about the share `how.frr` of clean images."""
    blend = blend_of(subject, how, seed)
    clean = entropies(subject, evenly(subject.examples, how.clean).images, blend, on_image)
    return Guard(subject, blend, threshold_at(clean, how.frr))
