"""For every class the least change, the same for all images, that makes them that class: a trigger is a short way.

A mask and a pattern (Wang et al. 2019, Neural Cleanse) are learned by Adam for a network's cross-entropy and the share
of the image that the mask covers; where the target of a trojan is sought, both end low. Images made here are no class
in particular, and most would go to one class by themselves: each is first moved, by its own gradient, to a class that
it is given, every class having as many.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Search", "affordable", "inverted", "moved"]

Answer = Callable[[Tensor], Tensor]
_PRICE = 5.0
"""What a mask over the whole image costs, in nats of cross-entropy."""
_MOVES, _REACH = 8, 0.25
_STEPS, _LEAST_STEPS, _BATCHES = 80, 30, (6, 3)
_RATE, _MOMENTA, _MASK = 0.2, (0.5, 0.9), -3.0
_SEED = 20261203
_TINY = 1e-12


@dataclass(frozen=True)
class Search:
    """`steps` of Adam, each on `batch` images of every part; `together`: classes searched for at once."""

    steps: int
    batch: int
    together: int


def affordable(runs: float, held: int, images: int, classes: int, parts: int) -> Search | None:
    """The search for at most so many `runs` of one image, of which `held` fit into memory at once; None where too few
    steps would be left."""
    left = runs - images * (3 * _MOVES + classes)  # a gradient costs as much as three runs
    for batch in _BATCHES:
        steps = min(_STEPS, int(left / (3 * classes * batch)))
        if steps >= _LEAST_STEPS:
            return Search(steps, max(1, batch // parts), max(1, held // batch))
    return None


def moved(answer: Answer, x: Tensor, classes: int, parts: int) -> tuple[Tensor, Tensor]:
    """Images (n, channels, side, side) in [0, 1] within `_REACH` of `x`, and the class (n,) each was moved to."""
    given = torch.cat([torch.arange(len(part)) % classes for part in x.chunk(parts)])
    away = torch.zeros_like(x)
    for _ in range(_MOVES):
        away.requires_grad_(True)
        loss = functional.cross_entropy(answer((x + away).clamp(0, 1)), given, reduction="sum")
        slope = torch.autograd.grad(loss, away)[0]
        largest = slope.flatten(1).abs().amax(dim=1).view(-1, 1, 1, 1) + _TINY
        away = (away.detach() - _REACH / 3 * slope / largest).clamp(-_REACH, _REACH)
    return (x + away).clamp(0, 1), given


def inverted(answer: Answer, x: Tensor, given: Tensor, parts: int, search: Search, classes: int) -> Tensor:
    """(3, C): of every class the cross-entropy that is left, the share of the image that is covered, and what was
    minimised, the first and `_PRICE` times the second.

    `answer` takes images that come in as many equal `parts` as there are scalings, as those of `x` do.
    """
    order = torch.Generator().manual_seed(_SEED)
    batches = [_batch(len(x), parts, search.batch, order) for _ in range(search.steps)]
    groups = torch.split(torch.arange(classes), search.together)
    return torch.cat([_searched(answer, x, given, parts, batches, group) for group in groups], dim=1)


def _searched(
    answer: Answer, x: Tensor, given: Tensor, parts: int, batches: list[Tensor], group: Tensor
) -> Tensor:
    mask = torch.full((len(group), 1, *x.shape[2:]), _MASK, requires_grad=True)
    pattern = torch.zeros(len(group), *x.shape[1:], requires_grad=True)
    adam = torch.optim.Adam([mask, pattern], lr=_RATE, betas=_MOMENTA)

    def covered(part: Tensor) -> Tensor:
        share = mask.sigmoid()[:, None]
        return torch.lerp(part[None], pattern.sigmoid()[:, None], share).flatten(0, 1)

    def unlike(chosen: Tensor) -> Tensor:
        """(classes, images): cross-entropy to the class searched for."""
        logits = answer(torch.cat([covered(part) for part in x[chosen].chunk(parts)]))
        each = logits.view(parts, len(group), -1, logits.shape[1]).transpose(0, 1).flatten(1, 2)
        return -each.log_softmax(dim=2).gather(2, group.view(-1, 1, 1).expand(-1, each.shape[1], 1))[:, :, 0]

    def loss(each: Tensor, chosen: Tensor) -> Tensor:
        """(classes,): the mean over images that were given another class."""
        others = (given[chosen] != group[:, None]).to(each.dtype)
        return (each * others).sum(dim=1) / others.sum(dim=1).clamp_min(1.0)

    def size() -> Tensor:
        return mask.sigmoid().mean(dim=(1, 2, 3))

    for chosen in batches:
        adam.zero_grad()
        (loss(unlike(chosen), chosen) + _PRICE * size()).sum().backward()  # type: ignore[no-untyped-call]
        adam.step()
    with torch.no_grad():
        # By parts as above, so many images at once as in a step.
        places = torch.split(torch.arange(len(x)).view(parts, -1), len(batches[0]) // parts, dim=1)
        rest = [chosen.flatten() for chosen in places]
        left = loss(torch.cat([unlike(chosen) for chosen in rest], dim=1), torch.cat(rest))
        return torch.stack([left, size(), left + _PRICE * size()])


def _batch(count: int, parts: int, batch: int, order: torch.Generator) -> Tensor:
    """`batch` images of every part, the same places in each."""
    each = count // parts
    at = torch.randperm(each, generator=order)[:batch]
    return (at + each * torch.arange(parts)[:, None]).flatten()
