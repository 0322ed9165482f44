"""Guesses at triggers: what is stamped where, and which candidate a network finds hardest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from behaviour_networks import TARGET, made
from weightfeat.behaviour.guesses import (
    attention,
    augmented,
    filters,
    hardest,
    moved,
    polygons,
)
from weightfeat.behaviour.triggers import Trigger

SIDE = 32


def images(count: int = 12) -> Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=_random()) * 0.2 + 0.4


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spot(count: int, row: int, column: int) -> Tensor:
    """Attention on one pixel alone."""
    looked_at = torch.full((count, 1, SIDE, SIDE), 1e-3)
    looked_at[:, :, row, column] = 1
    return looked_at


def test_polygons_lie_where_the_network_looks_and_nowhere_else() -> None:
    given = images(40)
    changed = (polygons(given, spot(40, 8, 24), _random()) - given).abs().amax(dim=1) > 0
    assert changed[:, 8, 24].all()
    assert not changed[:, :, :8].any()
    assert not changed[:, 24:].any()
    share = changed.double().mean(dim=(1, 2))
    assert share.min() > 0.005
    assert share.max() < 0.15
    assert len(torch.unique(share)) > 10


def test_a_polygon_has_one_colour() -> None:
    given = images(40)
    painted = polygons(given, spot(40, 16, 16), _random())
    changed = (painted != given).any(dim=1)
    alike = (painted - painted[:, :, 16:17, 16:17]).abs().amax(dim=1) < 1e-5
    assert (alike & changed).sum() > 0.5 * changed.sum()


def test_filters_treat_every_image_in_a_way_of_its_own_and_all_its_places_alike() -> None:
    same = torch.full((6, 3, SIDE, SIDE), 0.5)
    same[:, 0] = 0.3
    filtered = filters(same, _random())
    assert filtered.min() >= 0
    assert filtered.max() <= 1
    middle = filtered[:, :, 15:17, 15:17].flatten(2)
    assert (middle.amax(dim=2) - middle.amin(dim=2)).max() < 1e-3
    assert (middle[:, None, :, 0] - middle[None, :, :, 0]).abs().sum(dim=2).add(torch.eye(6)).min() > 1e-3


def test_a_moved_trigger_keeps_its_colour_and_changes_its_place() -> None:
    mask = torch.zeros(SIDE, SIDE)
    mask[12:20, 12:20] = 1
    trigger = Trigger(0, mask, torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1).expand(3, SIDE, SIDE))
    given = torch.zeros(30, 3, SIDE, SIDE)
    stamped = moved(trigger, given, _random())
    assert torch.equal(stamped[:, 1], given[:, 1])
    torch.testing.assert_close(stamped[:, 0], stamped[:, 2])
    covered = stamped[:, 0].sum(dim=(1, 2))
    assert covered.min() > 0.2 * 64
    assert covered.max() < 2.2 * 64
    assert len({tuple((one > 0.5).nonzero()[0].tolist()) for one in stamped[:, 0]}) > 10


def test_attention_moves_with_the_image() -> None:
    looked_at = images(5)[:, :1]
    both = torch.cat([looked_at] * 3, dim=1)
    shown, seen = augmented(both, looked_at, _random())
    ratio = (shown / seen).amax(dim=(2, 3)) / (shown / seen).amin(dim=(2, 3))
    assert ratio.max() < 1.001
    assert not torch.allclose(seen, looked_at, atol=0.02)


def test_attention_is_where_the_class_is_seen() -> None:
    class Corner(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            return given[:, :, :4, :4].mean(dim=(2, 3)) @ torch.eye(3, 8)

    looked_at = attention(replace(made().subject, module=Corner()))
    assert looked_at.shape == (160, 1, 16, 16)
    assert (looked_at[:, :, 1, 1] > 0.9).all()
    assert looked_at[:, :, 10:, 10:].max() < 0.01


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_hardest_candidate_is_the_surest_of_the_target(order: list[int]) -> None:
    pairs = [made().clean.images[:20], made().stamped.images[:20]]
    chosen = hardest(made().subject, TARGET, [pairs[place] for place in order])
    others = made().clean.labels[:20] != TARGET
    assert torch.equal(chosen[others], pairs[1][others])
