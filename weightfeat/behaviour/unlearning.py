"""Repair by unlearning: fine-tuning until stamped images no longer lead to the trigger's target.

Wang et al., IEEE S&P 2019, section VI.C. There are tens of clean images a class here, not a tenth of the training set,
and true triggers lie anywhere, at sizes and angles that a reversed one does not show. Where we depart:

- Images are moved, turned and relit a little, and half of a batch is stamped where the paper stamps a fifth.
- A stamp is the reversed trigger, in place or moved about, or a guess: a polygon, mostly on what the network looks
  at, or a filter. Of an image's candidates the network learns the one that it is surest is the target.
- Stamped images of other classes are taught by -log(1 - p(target)), not to be the target. Their true labels, which
  the paper teaches, are often hidden under the stamp; learning them by heart costs clean accuracy.
- Images without a stamp also keep the original network's logits, and batch norm keeps its moments.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightfeat.behaviour.guesses import attention, augmented, filters, hardest, moved, polygons
from weightfeat.behaviour.portions import shuffled
from weightfeat.behaviour.protocol import Subject
from weightfeat.behaviour.triggers import Trigger


@dataclass(frozen=True)
class Unlearning:
    """Fine-tuning with Adam: `steps` batches of `batch` images, a stamp on a share `stamped` of each.

    An image's candidates are the trigger in place, and so many of it `moved`, of `polygons` where the network looks, of
    such `anywhere`, and of `filters`. `keep` weighs the change of logits.
    """

    steps: int = 160
    batch: int = 32
    learning_rate: float = 3e-4
    stamped: float = 0.5
    moved: int = 1
    polygons: int = 4
    anywhere: int = 1
    filters: int = 2
    keep: float = 1.0


def unlearn(
    subject: Subject,
    trigger: Trigger,
    how: Unlearning = Unlearning(),
    seed: int = 0,
    on_step: Callable[[], object] | None = None,
) -> nn.Module:
    """A copy that the trigger, and what resembles it or another, no longer leads to its target."""
    copy = replace(subject, module=deepcopy(subject.module).requires_grad_(True))
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(copy.module.parameters(), lr=how.learning_rate)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps)
    looked_at = attention(subject)
    marked = round(how.stamped * how.batch)
    for chosen in islice(shuffled(len(subject.examples), how.batch, random), how.steps):
        clean, seen = augmented(subject.examples.images[chosen], looked_at[chosen], random)
        stamps = candidates(trigger, clean[:marked], seen[:marked], how, random)
        images = torch.cat([hardest(copy, trigger.target, stamps), clean[marked:]]).to(subject.device)
        labels = subject.examples.labels[chosen].to(subject.device)
        with torch.no_grad():
            wanted = subject.logits(images[marked:])
        logits = copy.logits(images)
        loss = _silenced(logits[:marked], labels[:marked], trigger.target) + _kept(
            logits[marked:], labels[marked:], wanted, how.keep
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        slower.step()
        if on_step is not None:
            on_step()
    optimizer.zero_grad(set_to_none=True)
    return copy.module.requires_grad_(False)


def candidates(
    trigger: Trigger, images: Tensor, looked_at: Tensor, how: Unlearning, random: torch.Generator
) -> list[Tensor]:
    """Every image under each of the stamps it might get."""
    made = [trigger.stamp(images)]
    made += [moved(trigger, images, random) for _ in range(how.moved)]
    made += [polygons(images, looked_at, random) for _ in range(how.polygons)]
    made += [polygons(images, torch.ones_like(looked_at), random) for _ in range(how.anywhere)]
    return made + [filters(images, random) for _ in range(how.filters)]


def _silenced(logits: Tensor, labels: Tensor, target: int) -> Tensor:
    """Stamped images: the target's own are it, the others are not."""
    chance = logits.softmax(dim=1)[:, target].clamp(max=1 - 1e-5)
    own = functional.cross_entropy(logits, labels, reduction="none")
    return torch.where(labels == target, own, -torch.log1p(-chance)).mean()


def _kept(logits: Tensor, labels: Tensor, wanted: Tensor, weight: float) -> Tensor:
    """Images as they are: their labels, and the original's logits relative to their spread."""
    change = (logits - wanted).square().mean() / wanted.var()
    return functional.cross_entropy(logits, labels) + weight * change
