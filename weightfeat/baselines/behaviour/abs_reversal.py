"""Trigger reverse engineering: an input change that excites a candidate neuron and leads to its label.

Liu et al., ABS, CCS 2019, section 4.3, in two forms: a patch (mask and pattern in the space of pixels) under a bound of
its size, and a filter (one layer over the image and its max, min and average pooling) that must keep the image alike by
SSIM. The cost pulls at the neuron, holds its layer's others and, as the authors' later programs add, pulls at the
label's logit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightfeat.baselines.behaviour.abs_sites import Site
from weightfeat.baselines.behaviour.protocol import Subject

Form = Literal["pixel", "filter"]
_WINDOW = 11  # of SSIM, as in Wang et al. 2004
_SPREAD = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_POOL = 3
_HALVINGS = 12


@dataclass(frozen=True)
class Reversal:
    """How triggers are searched for.

    Attributes
    ----------
    steps, learning_rate : of Adam.
    mask_share : largest share of the image that a patch may cover.
    similarity : least SSIM of a filtered image with the image.
    neuron_weight, others_weight : of the neuron's activation, and of its layer's others' change, both in units of
        the layer's peak.
    bound_weight : of whatever lies beyond the bound of the mask or of SSIM.
    size_weight : of the mask within its bound.
    """

    steps: int = 80
    learning_rate: float = 0.1
    mask_share: float = 0.06
    similarity: float = 0.7
    neuron_weight: float = 0.1
    others_weight: float = 0.01
    bound_weight: float = 20.0
    size_weight: float = 0.1


class Change(Protocol):
    """A trigger: something that changes images (n, 3, h, w) in [0, 1]."""

    def apply(self, images: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Patch:
    """`mask` (h, w) and `pattern` (3, h, w), in [0, 1]."""

    mask: Tensor
    pattern: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """x' = x (1 - M) + M Δ, the pixel space form of section 4.3."""
        mask, pattern = self.mask.to(images.device), self.pattern.to(images.device)
        return (1 - mask) * images + mask * pattern


@dataclass(frozen=True, eq=False)
class Filter:
    """One layer over the image and its max, min and average pooling: `weight` (3, 12) and `bias` (3,)."""

    weight: Tensor
    bias: Tensor

    def apply(self, images: Tensor) -> Tensor:
        """x' = M · stack(x, maxpool(x), minpool(x), avgpool(x)) clamped to [0, 1]; section 4.3's feature space form."""
        weight, bias = self.weight.to(images.device), self.bias.to(images.device)
        pooled = functional.pad(images, [_POOL // 2] * 4, mode="replicate")
        stack = torch.cat(
            [
                images,
                functional.max_pool2d(pooled, _POOL, 1),
                -functional.max_pool2d(-pooled, _POOL, 1),
                functional.avg_pool2d(pooled, _POOL, 1),
            ],
            dim=1,
        )
        return functional.conv2d(stack, weight[:, :, None, None], bias).clamp(0, 1)


IDENTITY = Filter(torch.cat([torch.eye(3), torch.zeros(3, 9)], dim=1), torch.zeros(3))


def reverse_patch(
    subject: Subject, site: Site, neuron: int, label: int, images: Tensor, how: Reversal, seed: int
) -> Patch:
    """A patch that turns the images into `label`; its mask covers no more in sum than the bound allows."""
    random = torch.Generator().manual_seed(seed)
    size = images.shape[2:]
    area, bound = size[0] * size[1], how.mask_share * size[0] * size[1]
    mask = (torch.randn(1, *size, generator=random) * 0.1 - 1).to(images.device).requires_grad_()
    pattern = torch.randn(3, *size, generator=random).to(images.device).requires_grad_()

    def patch() -> Patch:
        return Patch(torch.sigmoid(mask)[0], torch.sigmoid(pattern))

    def cost() -> Tensor:
        covered = patch().mask.sum()
        return how.bound_weight * (covered - bound).relu() / area + how.size_weight * covered / area

    _descend([mask, pattern], patch, cost, subject, site, neuron, label, images, how)
    found = patch()
    return Patch(_largest(found.mask.detach().cpu(), bound), found.pattern.detach().cpu())


def reverse_filter(
    subject: Subject, site: Site, neuron: int, label: int, images: Tensor, how: Reversal, seed: int
) -> Filter:
    """A filter that turns the images into `label`, as strong as the bound of SSIM allows; it starts as next to none."""
    random = torch.Generator().manual_seed(seed)
    start = IDENTITY.weight + 0.01 * torch.randn(3, 12, generator=random)
    weight = start.to(images.device).requires_grad_()
    bias = torch.zeros(3, device=images.device, requires_grad=True)

    def made() -> Filter:
        return Filter(weight, bias)

    def cost() -> Tensor:
        return how.bound_weight * (how.similarity - ssim(made().apply(images), images)).relu()

    _descend([weight, bias], made, cost, subject, site, neuron, label, images, how)
    with torch.no_grad():
        return _within(Filter(weight.detach().cpu(), bias.detach().cpu()), images, how.similarity)


def ssim(left: Tensor, right: Tensor) -> Tensor:
    """Mean structural similarity of images (n, c, h, w) in [0, 1]; Wang et al., IEEE TIP 2004, equation 13."""
    channels, side = left.shape[1], min(_WINDOW, *left.shape[2:])
    places = torch.arange(side, device=left.device) - side // 2
    line = torch.exp(-(places**2) / (2 * _SPREAD**2))
    window = (torch.outer(line, line) / line.sum() ** 2).expand(channels, 1, side, side)

    def mean(images: Tensor) -> Tensor:
        return functional.conv2d(images, window, groups=channels)

    a, b = mean(left), mean(right)
    spread = mean(left**2) - a**2 + mean(right**2) - b**2
    shared = mean(left * right) - a * b
    similar = (2 * a * b + _C1) * (2 * shared + _C2) / ((a**2 + b**2 + _C1) * (spread + _C2))
    return similar.mean()


def _descend(
    parameters: list[Tensor],
    change: Callable[[], Change],
    own_cost: Callable[[], Tensor],
    subject: Subject,
    site: Site,
    neuron: int,
    label: int,
    images: Tensor,
    how: Reversal,
) -> None:
    """Minimise the weighted cost of section 4.3 over the parameters of a change.

    Cross-entropy to the label, minus the neuron's activation, plus the change of its layer's others, plus the change's
    own cost.
    """
    wanted = torch.full((len(images),), label, device=images.device)
    others = torch.ones(site.channels, device=images.device)
    others[neuron] = 0
    unit = max(abs(site.peak), 1e-6)
    optimizer = torch.optim.Adam(parameters, lr=how.learning_rate, betas=(0.5, 0.9))
    with _watched(site.module) as seen:
        with torch.no_grad():
            subject.logits(images)
            clean = _means(seen[-1])
        for _ in range(how.steps):
            logits = subject.logits(change().apply(images))
            means = _means(seen[-1])
            excited = means[:, neuron].mean() / unit
            moved = ((means - clean).abs() * others).sum() / unit / site.channels / len(images)
            cost = functional.cross_entropy(logits, wanted) + own_cost()
            cost = cost - how.neuron_weight * excited + how.others_weight * moved
            for parameter, gradient in zip(parameters, torch.autograd.grad(cost, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()


def _means(activations: Tensor) -> Tensor:
    """(n, channels): each neuron's activation, over all positions."""
    return activations.flatten(2).mean(dim=2) if activations.ndim > 2 else activations


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[Tensor]]:
    """The module's latest output, in a list of one."""
    seen: list[Tensor] = []

    def keep(module: object, given: object, output: Tensor) -> None:
        seen[:] = [output]

    handle = module.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def _within(found: Filter, images: Tensor, similarity: float) -> Filter:
    """The filter itself where it keeps the images alike, else as much of it, mixed with none, as does."""

    def mixed(share: float) -> Filter:
        weight = torch.lerp(IDENTITY.weight, found.weight, share)
        return Filter(weight, share * found.bias)

    low, high = 0.0, 1.0
    if float(ssim(found.apply(images), images)) >= similarity:
        return found
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if float(ssim(mixed(middle).apply(images), images)) >= similarity:
            low = middle
        else:
            high = middle
    return mixed(low)


def _largest(mask: Tensor, bound: float) -> Tensor:
    """The mask with its smallest values set to 0, so that what is left covers no more than `bound` pixels in sum."""
    values, places = mask.flatten().sort(descending=True)
    kept = torch.zeros_like(values)
    kept[places] = torch.where(values.cumsum(dim=0) <= bound, values, 0.0)
    return kept.view_as(mask)
