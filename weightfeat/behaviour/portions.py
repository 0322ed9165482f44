"""Which examples are taken together: mini-batches, and turns within a class."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def shuffled(count: int, size: int, random: torch.Generator) -> Iterator[Tensor]:
    """Endless mini-batches of `size` indices below `count`, every index once before any comes again."""
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(count, generator=random)])
        yield waiting[:size]
        waiting = waiting[size:]


def turns(labels: Tensor) -> Tensor:
    """How many examples of its class come before each: int64 (n,)."""
    same = labels[:, None] == labels[None, :]
    return same.tril(-1).sum(dim=1)
