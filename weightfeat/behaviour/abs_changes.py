"""What a reversed trigger does to images: a patch in the space of pixels, or a filter in that of features.

Liu et al., ABS, CCS 2019, section 4.3. Where we depart: a patch has one colour and a mask of nothing but 0 and 1. The
paper's free pattern under a soft mask smears itself thinly over the image, and so fools clean networks as well as
trojaned ones; one colour is what the authors' own later program for TrojAI searches for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

Form = Literal["pixel", "filter"]
FORMS: tuple[Form, ...] = ("pixel", "filter")
POOL = 3
_SPREAD = 1.5  # of SSIM's window, as in Wang et al. 2004
_REACH = 3.5  # spreads
_C1, _C2 = 0.01**2, 0.03**2


class Change(Protocol):
    """A trigger: something that changes images (n, 3, h, w) in [0, 1]."""

    def apply(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Patch:
    """`mask` (h, w) of 0 and 1, `color` (3,) in [0, 1]."""

    mask: Tensor
    color: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """x' = x (1 - M) + M Δ, the pixel space form of section 4.3."""
        return stamped(images, self.mask[None].to(images.device), self.color[None].to(images.device))[0]


@dataclass(frozen=True, eq=False)
class Filter:
    """One layer over the image and its max, min and average pooling: `weight` (3, 12) and `bias` (3,)."""

    weight: Tensor
    bias: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """x' = M · stack(x, maxpool(x), minpool(x), avgpool(x)) clamped to [0, 1]; section 4.3's feature space form."""
        weight, bias = self.weight[None].to(images.device), self.bias[None].to(images.device)
        return filtered(pooled(images), weight, bias)[0]


def stamped(images: Tensor, masks: Tensor, colors: Tensor) -> Tensor:
    """(t, n, 3, h, w): each of the images (n, 3, h, w) under each of t masks (t, h, w) of colours (t, 3)."""
    masks = masks[:, None, None]
    return (1 - masks) * images + masks * colors[:, None, :, None, None]


def filtered(stack: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """(t, n, 3, h, w): images under each of t filters (t, 3, 12), (t, 3); `stack` as `pooled` gives it."""
    mixed = torch.einsum("toc,nchw->tnohw", weights, stack)
    return (mixed + biases[:, None, :, None, None]).clamp(0, 1)


def pooled(images: Tensor) -> Tensor:
    """(n, 12, h, w): the images, and their max, min and average over 3 x 3 pixels."""
    padded = functional.pad(images, [POOL // 2] * 4, mode="replicate")
    highest, lowest = functional.max_pool2d(padded, POOL, 1), -functional.max_pool2d(-padded, POOL, 1)
    return torch.cat([images, highest, lowest, functional.avg_pool2d(padded, POOL, 1)], dim=1)


def ssim(left: Tensor, right: Tensor) -> Tensor:
    """Structural similarity of images (..., c, h, w) in [0, 1]; Wang et al., IEEE TIP 2004, equation 13.

    One value an image; leading dimensions are broadcast.
    """
    a, b = blurred(left, _SPREAD), blurred(right, _SPREAD)
    spread = blurred(left**2, _SPREAD) - a**2 + blurred(right**2, _SPREAD) - b**2
    shared = blurred(left * right, _SPREAD) - a * b
    similar = (2 * a * b + _C1) * (2 * shared + _C2) / ((a**2 + b**2 + _C1) * (spread + _C2))
    return similar.mean(dim=(-3, -2, -1))


def blurred(images: Tensor, spread: float) -> Tensor:
    """(..., h, w) under a Gaussian of standard deviation `spread` pixels, at the edges under what of it lies inside."""
    rows, columns = (_gaussian(length, spread).to(images) for length in images.shape[-2:])
    return rows @ images @ columns.T


def _gaussian(length: int, spread: float) -> Tensor:
    """(length, length): each row's weights. As matrices, blurs take an eighth of the time of thin convolutions."""
    places = torch.arange(length, dtype=torch.float32)
    distances = (places[:, None] - places).abs() / spread
    # Cut off as Wang et al. do, after 5 pixels of 1.5: numbers near the smallest there are would be slow besides.
    weights = torch.where(distances < _REACH, torch.exp(-(distances**2) / 2), 0.0)
    return weights / weights.sum(dim=1, keepdim=True)
