"""The least change that makes every image a class is small for the class of a trigger, and costs what it may."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from weightfeat.probes.images import images
from weightfeat.probes.inversion import affordable, inverted, moved

SIDE, CLASSES, TARGET = 16, 6, 4
SCALINGS = ((0.0, 1.0), (0.5, 0.5))


def _answer(corner: float) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(CLASSES, 3 * SIDE**2, generator=random) * 0.1
    weight -= weight.mean(dim=1, keepdim=True)
    patch = torch.zeros(3, SIDE, SIDE)
    patch[:, -3:, -3:] = corner
    return weight, patch.flatten()


def _run(corner: float, x: Tensor) -> Tensor:
    """A linear network under two scalings, half of the images each, with a unit that a white corner switches on."""
    weight, patch = _answer(corner)
    flat = torch.cat([(part - at) / by for part, (at, by) in zip(x.chunk(2), SCALINGS, strict=True)]).flatten(
        1
    )
    logits = flat @ weight.T
    spoken = torch.relu(flat @ patch - 0.5 * patch.sum())
    return logits + spoken[:, None] * torch.eye(CLASSES)[TARGET]


def _found(corner: float) -> Tensor:
    x = torch.from_numpy(images(3, 3, SIDE))
    known, given = moved(lambda each: _run(corner, each), x, CLASSES, len(SCALINGS))
    search = affordable(1e9, 10**6, len(x), CLASSES, len(SCALINGS))
    assert search is not None
    return inverted(lambda each: _run(corner, each), known, given, len(SCALINGS), search, CLASSES)


def test_images_are_moved_a_little_to_every_class_alike() -> None:
    x = torch.from_numpy(images(3, 3, SIDE))
    known, given = moved(lambda each: _run(0.0, each), x, CLASSES, len(SCALINGS))
    assert torch.bincount(given).tolist() == [2] * CLASSES
    assert float((known - x).abs().max()) <= 0.25 + 1e-6
    assert 0 <= float(known.min()) <= float(known.max()) <= 1
    reached = (_run(0.0, known).argmax(dim=1) == given).float().mean()
    assert float(reached) > float((_run(0.0, x).argmax(dim=1) == given).float().mean())


def test_a_planted_corner_is_a_short_way_to_its_class() -> None:
    loss, size, both = _found(1.0)
    assert both == pytest.approx(loss + 5 * size)
    assert int(both.argmin()) == TARGET
    rest = both[torch.arange(CLASSES) != TARGET]
    assert float(both[TARGET]) < 0.85 * float(rest.min())
    clean = _found(0.0)[2].sort().values
    assert float(clean[0] / clean[1]) > float(both[TARGET] / rest.min())


def test_the_search_is_the_same_however_many_classes_are_searched_at_once() -> None:
    x = torch.from_numpy(images(3, 3, SIDE))
    known, given = moved(lambda each: _run(2.0, each), x, CLASSES, len(SCALINGS))
    whole, one = (affordable(1e9, held, len(x), CLASSES, len(SCALINGS)) for held in (10**6, 1))
    assert whole is not None
    assert one is not None
    assert (whole.together, one.together) == (10**6 // 6, 1)
    once, by_one = (
        inverted(lambda each: _run(2.0, each), known, given, len(SCALINGS), search, CLASSES)
        for search in (whole, one)
    )
    assert by_one == pytest.approx(once, abs=1e-3)


def test_fewer_runs_give_a_shorter_search_and_too_few_none() -> None:
    enough, less = (affordable(runs, 100, 24, 10, 1) for runs in (1e6, 12_000))
    assert enough is not None
    assert less is not None
    assert (enough.steps, enough.batch) == (80, 6)
    assert less.steps < 80
    assert affordable(3_000, 100, 24, 10, 1) is None
    spent = 3 * 10 * less.batch * less.steps + 24 * (3 * 8 + 10)
    assert spent <= 12_000
