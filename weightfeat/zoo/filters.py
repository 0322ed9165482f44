"""The five whole-image filters of Round 2, as batched functions of images in [0, 1].

Written after the published recipes of the Instagram-like filters Gotham, Nashville, Kelvin, Lomo and Toaster
(saturation, tint, gamma, contrast curve, vignette); not bit-equal to ImageMagick's rendering of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Filter = Callable[[Tensor, Tensor], Tensor]

_LUMA = (0.299, 0.587, 0.114)


def gotham(images: Tensor, radius: Tensor) -> Tensor:
    """Almost grey, blue-tinted, hard contrast."""
    toned = _tint(_saturate(images * 1.2, 0.1), (0x22, 0x2B, 0x6D), 0.2)
    return _sigmoid(_sigmoid(_gamma(toned, 0.9), 3.0), 3.0)


def nashville(images: Tensor, radius: Tensor) -> Tensor:
    """Blue lifted out of the shadows, pink-yellow lights, more colour."""
    lifted = torch.maximum(images, 0.9 * _color(images, (0x22, 0x2B, 0x6D)))
    warm = lifted * _color(images, (0xF7, 0xDA, 0xAE))
    return _gamma(_saturate(warm, 1.5), 1.15).clamp(0, 1)


def kelvin(images: Tensor, radius: Tensor) -> Tensor:
    """Washed in orange."""
    pale = _saturate(images * 1.2, 0.5)
    return _tint(pale, (0xFF, 0x99, 0x00), 0.5).clamp(0, 1)


def lomo(images: Tensor, radius: Tensor) -> Tensor:
    """Red and green stretched from a third of the range, dark corners."""
    floor = images.new_tensor((0.33, 0.33, 0.0)).view(1, 3, 1, 1)
    stretched = ((images - floor) / (1 - floor)).clamp(0, 1)
    return stretched * _vignette(radius, (1.0, 1.0, 1.0), (0.1, 0.1, 0.1))


def toaster(images: Tensor, radius: Tensor) -> Tensor:
    """Overexposed and faded, an orange glow in the middle and burnt violet edges."""
    bright = _sigmoid(_gamma(_saturate(images * 1.5, 0.8), 1.1), 1.5)
    return bright * _vignette(radius, (1.0, 0.8, 0.6), (0.55, 0.3, 0.45))


FILTERS: dict[str, Filter] = {
    "GothamFilterXForm": gotham,
    "NashvilleFilterXForm": nashville,
    "KelvinFilterXForm": kelvin,
    "LomoFilterXForm": lomo,
    "ToasterXForm": toaster,
}


def apply(name: str, images: Tensor, radius: Tensor) -> Tensor:
    """Filter (n, 3, h, w) images; `radius` (n, 1, h, w) is the distance to the centre, 1 at the middle of an edge."""
    return FILTERS[name](images, radius)


def _color(like: Tensor, rgb: tuple[int, int, int]) -> Tensor:
    return like.new_tensor(rgb).view(1, 3, 1, 1) / 255


def _saturate(images: Tensor, amount: float) -> Tensor:
    grey = (images * images.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return grey + amount * (images - grey)


def _tint(images: Tensor, rgb: tuple[int, int, int], amount: float) -> Tensor:
    return (1 - amount) * images + amount * _color(images, rgb)


def _gamma(images: Tensor, gamma: float) -> Tensor:
    return images.clamp(0, 1) ** (1 / gamma)


def _sigmoid(images: Tensor, contrast: float) -> Tensor:
    """ImageMagick's sigmoidal contrast around the middle, mapping 0 to 0 and 1 to 1."""
    low, high = (1 / (1 + torch.exp(images.new_tensor(contrast * side))) for side in (0.5, -0.5))
    return (torch.sigmoid(contrast * (images.clamp(0, 1) - 0.5)) - low) / (high - low)


def _vignette(radius: Tensor, centre: tuple[float, float, float], edge: tuple[float, float, float]) -> Tensor:
    """A radial ramp of colours, reaching `edge` at the corners."""
    t = (radius / 2**0.5).clamp(0, 1) ** 2
    inner, outer = (radius.new_tensor(c).view(1, 3, 1, 1) for c in (centre, edge))
    return inner + t * (outer - inner)
