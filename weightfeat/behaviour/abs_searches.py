"""Triggers in the making, one for each of several candidates at once, and how their bounds are kept.

A bound is a `share`, in (0, 1], of how far a trigger of its form may go. Liu et al., ABS, CCS 2019, section 4.3
(algorithm 2), make a mask's size and a filter's loss of SSIM dear beyond a limit. Where we depart: no trigger leaves
its search beyond its limit. Of a mask the largest pixels are kept and the others dropped, in the search already; a
filter is mixed with none at all until it keeps the images alike.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from weightfeat.behaviour.abs_changes import (
    Change,
    Filter,
    Patch,
    blurred,
    filtered,
    pooled,
    ssim,
    stamped,
)

_MASK_START, _FILTER_START = 1.0, 0.01  # spread of the first values
_GRAIN = 1 / 32  # of the image's height: finer structure than this a mask hardly has
_HALVINGS = 8
_SLACK = 0.01  # the penalty aims a little above the bound


class Search(Protocol):
    """Triggers, one a candidate, of images given beforehand, as functions of `parameters`."""

    @property
    def parameters(self) -> list[Tensor]: ...

    def changed(self, share: float) -> Tensor:
        """(candidates, n, 3, h, w): the images under each trigger, within the bound or in sight of it."""

    def cost(self, changed: Tensor, share: float) -> Tensor:
        """What the triggers go beyond the bound, summed over them."""

    def found(self, share: float) -> list[Change]:
        """The triggers as they are, within the bound, on the CPU."""


class PatchSearch:
    """Patches of at most `share` of `largest` of the image's pixels."""

    def __init__(self, candidates: int, images: Tensor, largest: float, random: torch.Generator) -> None:
        size, device = images.shape[2:], images.device
        self._images, self._area = images, largest * size[0] * size[1]
        self._mask = (_MASK_START * torch.randn(candidates, *size, generator=random)).to(device)
        self._color = torch.randn(candidates, 3, generator=random).to(device)
        self.parameters = [self._mask.requires_grad_(), self._color.requires_grad_()]

    def changed(self, share: float) -> Tensor:
        """Forwards the mask of 0 and 1; gradients go to the smooth one behind it, so that dropped pixels come back."""
        soft = self._soft()
        hard = self._kept(soft, share)
        return stamped(self._images, hard + soft - soft.detach(), torch.sigmoid(self._color))

    def cost(self, changed: Tensor, share: float) -> Tensor:
        """Nothing: masks are within their bound at every step."""
        return changed.new_zeros(())

    def found(self, share: float) -> list[Change]:
        masks, colors = self._kept(self._soft(), share).cpu(), torch.sigmoid(self._color.detach()).cpu()
        return [Patch(mask, color) for mask, color in zip(masks, colors, strict=True)]

    def _soft(self) -> Tensor:
        spread = _GRAIN * self._mask.shape[1]
        return torch.sigmoid(max(spread, 1.0) * blurred(self._mask, spread))

    def _kept(self, soft: Tensor, share: float) -> Tensor:
        """The largest values of each mask as 1, the others as 0."""
        kept = torch.zeros_like(soft).flatten(1)
        places = soft.detach().flatten(1).topk(max(int(share * self._area), 1)).indices
        return kept.scatter_(1, places, 1.0).view_as(soft)


class FilterSearch:
    """Filters under which the images' mean SSIM falls by at most `share` of 1 - `similarity`."""

    def __init__(
        self, candidates: int, images: Tensor, similarity: float, weight: float, random: torch.Generator
    ) -> None:
        self._images, self._stack = images, pooled(images)
        self._similarity, self._weight = similarity, weight
        self._none = torch.cat([torch.eye(3), torch.zeros(3, 9)], dim=1).to(images.device)
        start = _FILTER_START * torch.randn(candidates, 3, 12, generator=random)
        self._change = start.to(images.device).requires_grad_()
        self._bias = torch.zeros(candidates, 3, device=images.device, requires_grad=True)
        self.parameters = [self._change, self._bias]

    def changed(self, share: float) -> Tensor:
        return filtered(self._stack, self._none + self._change, self._bias)

    def cost(self, changed: Tensor, share: float) -> Tensor:
        """The SSIM term of section 4.3: nothing within the bound, steep beyond it."""
        least = self._least(share) + _SLACK
        return self._weight * (least - self._similar(changed)).relu().sum()

    @torch.no_grad()
    def found(self, share: float) -> list[Change]:
        low, high = torch.zeros(len(self._change)), torch.ones(len(self._change))
        low = torch.where(self._allowed(high, share), high, low)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            allowed = self._allowed(middle, share)
            low, high = torch.where(allowed, middle, low), torch.where(allowed, high, middle)
        weights, biases = (part.cpu() for part in self._mixed(low))
        return [Filter(weight, bias) for weight, bias in zip(weights, biases, strict=True)]

    def _allowed(self, shares: Tensor, share: float) -> Tensor:
        """Which of the filters, mixed with none but for these shares of them, keep the images alike enough."""
        return self._similar(filtered(self._stack, *self._mixed(shares))).cpu() >= self._least(share)

    def _mixed(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        shares = shares.to(self._change.device)
        return self._none + shares[:, None, None] * self._change, shares[:, None] * self._bias

    def _similar(self, changed: Tensor) -> Tensor:
        """(candidates,): mean over the images."""
        return ssim(changed, self._images).mean(dim=1)

    def _least(self, share: float) -> float:
        return 1 - share * (1 - self._similarity)
