"""Reversed triggers keep every bound they are given, and do what the paper's forms do."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from abs_networks import SIDE, network, subject_of
from weightfeat.behaviour.abs_changes import Change, Filter, Form, Patch, blurred, ssim
from weightfeat.behaviour.abs_reversal import Aim, Reversal, reverse
from weightfeat.behaviour.abs_sites import find_sites
from weightfeat.behaviour.protocol import Subject

HASTY = Reversal(bounds=3, mask_share=0.12, similarity=0.7, steps=12, refining=3, filter_rate=0.3)


def reversed_of(form: Form, how: Reversal = HASTY, seed: int = 0) -> tuple[Subject, list[list[Change]]]:
    """Triggers for two neurons of two layers of a network with random weights."""
    torch.manual_seed(2)
    subject = subject_of(network())
    sites = find_sites(subject, subject.examples.images)
    aims = [Aim(sites[-1], 0, 1), Aim(sites[0], 3, 5)]
    return subject, reverse(subject, form, aims, subject.examples, how, seed)


def test_patches_cover_exactly_their_bound_in_one_color() -> None:
    _, found = reversed_of("pixel")
    assert len(found) == 2
    for patches in found:
        assert len(patches) == HASTY.bounds
        for patch, share in zip(patches, HASTY.shares(), strict=True):
            assert isinstance(patch, Patch)
            assert set(patch.mask.flatten().tolist()) == {0.0, 1.0}
            assert int(patch.mask.sum()) == int(share * 0.12 * SIDE * SIDE)
            assert patch.color.shape == (3,)


def test_filters_keep_the_images_as_alike_as_each_bound_says() -> None:
    subject, found = reversed_of("filter")
    images = subject.examples.images
    for filters in found:
        alike = [float(ssim(one.apply(images), images).mean()) for one in filters]
        for value, share in zip(alike, HASTY.shares(), strict=True):
            assert value >= 1 - share * (1 - 0.7) - 1e-4
        assert alike[0] < 0.97  # the search went somewhere at all


def test_bounds_run_from_the_loosest_down_and_none_is_empty() -> None:
    shares = Reversal(bounds=4).shares()
    assert shares == [1.0, 0.75, 0.5, 0.25]
    assert all(one > next_ for one, next_ in pairwise(shares))


@pytest.mark.parametrize("form", ["pixel", "filter"])
def test_search_lowers_what_it_minimises(form: Form) -> None:
    def missed(steps: int) -> float:
        how = Reversal(bounds=1, steps=steps, similarity=0.2, neuron_weight=0, others_weight=0)
        subject, found = reversed_of(form, how)
        logits = subject.logits(found[0][0].apply(subject.examples.images))
        return float(functional.cross_entropy(logits, torch.ones(len(logits), dtype=torch.int64)))

    assert missed(30) < missed(0) - 1e-3


def test_aims_do_not_meet_in_a_batch() -> None:
    """A trigger's gradient comes from its own aim alone: a scan's result hardly hangs on who shares its batch."""
    torch.manual_seed(2)
    subject = subject_of(network())
    site = find_sites(subject, subject.examples.images)[-1]
    how = Reversal(bounds=1, steps=1)
    same, other = (
        reverse(subject, "filter", [Aim(site, 0, 1), Aim(site, neuron, label)], subject.examples, how, 0)[0][
            0
        ]
        for neuron, label in ((3, 5), (2, 4))
    )
    assert isinstance(same, Filter)
    assert isinstance(other, Filter)
    torch.testing.assert_close(same.weight, other.weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(same.bias, other.bias, atol=1e-5, rtol=1e-4)


def test_patch_replaces_what_its_mask_covers() -> None:
    images = torch.rand(2, 3, 5, 5)
    mask = torch.zeros(5, 5)
    mask[1, 2] = 1
    changed = Patch(mask, torch.tensor([1.0, 0.0, 0.5])).apply(images)
    assert changed[:, :, 1, 2].tolist() == [[1.0, 0.0, 0.5]] * 2
    assert torch.equal(changed * (1 - mask), images * (1 - mask))


def test_filter_of_identity_changes_nothing() -> None:
    images = torch.rand(2, 3, 9, 9)
    identity = Filter(torch.cat([torch.eye(3), torch.zeros(3, 9)], dim=1), torch.zeros(3))
    torch.testing.assert_close(identity.apply(images), images)


@pytest.mark.parametrize(
    ("block", "expected"), [(1, lambda p: p.max()), (2, lambda p: p.min()), (3, lambda p: p.mean())]
)
def test_filter_pools_over_three_by_three(block: int, expected: Callable[[Tensor], Tensor]) -> None:
    images = torch.rand(1, 3, 7, 7)
    weight = torch.zeros(3, 12)
    weight[:, 3 * block : 3 * block + 3] = torch.eye(3)
    changed = Filter(weight, torch.zeros(3)).apply(images)
    torch.testing.assert_close(changed[0, 1, 3, 4], expected(images[0, 1, 2:5, 3:6]))


def test_ssim_is_one_for_the_same_and_falls_with_noise() -> None:
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    values = [
        float(ssim(images, (images + scale * noise).clamp(0, 1)).mean()) for scale in (0.0, 0.05, 0.2, 1.0)
    ]
    assert values[0] == pytest.approx(1.0, abs=1e-5)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5
    other = (images + noise).clamp(0, 1)
    torch.testing.assert_close(ssim(images, other), ssim(other, images))


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_blurring_keeps_what_is_even_and_spreads_what_is_not(spread: float) -> None:
    even = torch.full((2, 12, 12), 0.3)
    torch.testing.assert_close(blurred(even, spread), even)
    point = torch.zeros(1, 31, 31)
    point[0, 15, 15] = 1
    smooth = blurred(point, spread)[0]
    assert smooth.argmax() == point[0].argmax()
    assert float(smooth.sum()) == pytest.approx(1.0, abs=1e-5)
    assert 0 < float(smooth[15, 16]) < float(smooth[15, 15]) < 1
