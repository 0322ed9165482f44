"""Trigger reverse engineering: for every candidate neuron an input change that excites it and leads to its label.

Liu et al., ABS, CCS 2019, section 4.3 and algorithm 2: the cost pulls at the neuron and holds its layer's others.
Where we depart: it pulls at the label as well, as the authors' later programs for TrojAI do; triggers of several
candidates are searched for in one batch; and each is searched for under a row of bounds, first the loosest and
from what was found there on to the tightest. What a trojan needs is little, so its label is still reached where a
clean network's labels no longer are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from weightfeat.behaviour.abs_changes import Change, Form
from weightfeat.behaviour.abs_searches import FilterSearch, PatchSearch, Search
from weightfeat.behaviour.abs_sites import Site, removed
from weightfeat.behaviour.protocol import Subject
from weightfeat.execution import Examples


@dataclass(frozen=True)
class Reversal:
    """How triggers are searched for.

    Attributes
    ----------
    bounds : so many, evenly from the loosest, which the next two name, down to as near to no change.
    mask_share : largest share of the image's pixels that a patch may cover.
    similarity : least mean SSIM of filtered images with the images.
    steps, refining : of Adam, under the loosest bound and under each other.
    patch_rate, filter_rate : its learning rates.
    neuron_weight, others_weight : of the neuron's activation, and of its layer's others' change, both in units of
        the layer's peak.
    bound_weight : of what a filter loses of SSIM beyond its bound.
    """

    bounds: int = 3
    mask_share: float = 0.08
    similarity: float = 0.88
    steps: int = 30
    refining: int = 15
    patch_rate: float = 0.4
    filter_rate: float = 0.03
    neuron_weight: float = 0.1
    others_weight: float = 0.01
    bound_weight: float = 30.0

    def shares(self) -> list[float]:
        """The bounds as shares of the loosest, which comes first."""
        return [place / self.bounds for place in range(self.bounds, 0, -1)]


@dataclass(frozen=True, eq=False)
class Aim:
    """What a trigger is for: to excite `neuron` of `site` and turn images into `label`."""

    site: Site
    neuron: int
    label: int


def reverse(
    subject: Subject, form: Form, aims: Sequence[Aim], used: Examples, how: Reversal, seed: int
) -> list[list[Change]]:
    """For every aim the triggers found under each bound, in the order of `how.shares()`.

    Parameters
    ----------
    used : the images that triggers are made from.
    """
    images = used.images.to(subject.device)
    search = _search(form, len(aims), images, how, torch.Generator().manual_seed(seed))
    rate = how.patch_rate if form == "pixel" else how.filter_rate
    optimizer = torch.optim.Adam(search.parameters, lr=rate, betas=(0.5, 0.9))
    labels = torch.tensor([aim.label for aim in aims]).repeat_interleave(len(images))
    others = (labels != used.labels.repeat(len(aims))).to(subject.device)
    labels = labels.to(subject.device)
    found = []
    with _watched(aims) as seen:
        with torch.no_grad():
            subject.logits(images)
            clean = {site: _means(output) for site, output in seen.items()}
        for share in how.shares():
            for _ in range(how.steps if share == 1 else how.refining):
                changed = search.changed(share)
                missed = functional.cross_entropy(
                    subject.logits(changed.flatten(0, 1)), labels, reduction="none"
                )
                cost = (missed * others).sum() / len(images) + search.cost(changed, share)
                cost = cost + _neurons_cost(aims, seen, clean, how)
                gradients = torch.autograd.grad(cost, search.parameters)
                for parameter, gradient in zip(search.parameters, gradients, strict=True):
                    parameter.grad = gradient
                optimizer.step()
            found.append(search.found(share))
    return [list(of_one) for of_one in zip(*found, strict=True)]


def _search(form: Form, candidates: int, images: Tensor, how: Reversal, random: torch.Generator) -> Search:
    if form == "pixel":
        return PatchSearch(candidates, images, how.mask_share, random)
    return FilterSearch(candidates, images, how.similarity, how.bound_weight, random)


def _neurons_cost(
    aims: Sequence[Aim], seen: Mapping[Site, Tensor], clean: Mapping[Site, Tensor], how: Reversal
) -> Tensor:
    """Minus each aim's neuron's activation on its images, plus the change of its layer's others, summed over aims."""
    means = {site: _means(output).view(len(aims), -1, site.channels) for site, output in seen.items()}
    costs = []
    for place, aim in enumerate(aims):
        own, unit = means[aim.site][place], max(abs(aim.site.peak), 1e-6)
        moved = (own - clean[aim.site]).abs()
        others = (moved.sum() - moved[:, aim.neuron].sum()) / moved.numel()
        costs.append(how.others_weight * others / unit - how.neuron_weight * own[:, aim.neuron].mean() / unit)
    return torch.stack(costs).sum()


def _means(activations: Tensor) -> Tensor:
    """(n, channels): each neuron's activation, over all positions."""
    return activations.flatten(2).mean(dim=2) if activations.ndim > 2 else activations


@contextmanager
def _watched(aims: Sequence[Aim]) -> Iterator[Mapping[Site, Tensor]]:
    """The latest output of every aim's site."""
    seen: dict[Site, Tensor] = {}
    with ExitStack() as hooks:
        for site in {aim.site for aim in aims}:

            def keep(module: object, given: object, output: Tensor, site: Site = site) -> None:
                seen[site] = output

            hooks.enter_context(removed(site.module.register_forward_hook(keep)))
        yield seen
