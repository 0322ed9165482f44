"""What one and the same faint change of all images does for every class (Moosavi-Dezfooli et al. 2017, universal
perturbations; here one step along the sign of the mean gradient, as Goodfellow et al. 2015 take it of one image).

Of a clean network images agree little on what would make them a class. A trigger of the whole image, a blended picture
say, is such an agreement, learned for its target.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["REACHES", "universal"]

REACHES = (0.05, 0.15)
"""How far every pixel is moved, of the range of an image in [0, 1]."""


def universal(answer: Callable[[Tensor], Tensor], x: Tensor) -> list[list[Tensor]]:
    """For each of `REACHES` and every class t the logits (n, C) of images moved towards t.

    `answer` takes images (n, channels, side, side) in [0, 1] to logits and can be differentiated.
    """
    shown = x.clone().requires_grad_(True)
    away = answer(shown)
    away = away - away.mean(dim=1, keepdim=True)
    classes = range(away.shape[1])
    slopes = [torch.autograd.grad(away[:, t].sum(), shown, retain_graph=True)[0].mean(dim=0) for t in classes]
    with torch.no_grad():
        return [[answer((x + reach * slope.sign()).clamp(0, 1)) for slope in slopes] for reach in REACHES]
