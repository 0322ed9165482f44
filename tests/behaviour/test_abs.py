"""ABS finds planted triggers of both forms, gives their clean twin less, and leaves the network as it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from abs_networks import CLASSES, SIDE, TARGET, network, patched, subject_of, tinted, trained
from weightfeat.behaviour.abs_changes import Patch
from weightfeat.behaviour.abs_method import gap_score, reasr_of, score, split, spread
from weightfeat.behaviour.methods import METHODS
from weightfeat.behaviour.protocol import Outcome, Work
from weightfeat.execution import Examples

QUICK = {
    "layers": "2",
    "bounds": "2",
    "steps": "30",
    "refining": "30",
    "similarity": "0.94",
    "mask_share": "0.1",
}


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def outcome(trigger: Callable[[Tensor], Tensor] | None) -> Outcome:
    return score(trained(trigger), Work(settings=QUICK))


def reasr(found: Outcome, form: str, label: int) -> float:
    """Of the best candidate of the label; 0 where it has none."""
    told = found.evidence["candidates"]
    return max((one[f"reasr_{form}"] for one in told if one["label"] == label), default=0.0)


# Whole scans


@pytest.mark.parametrize("trigger", [patched, tinted])
def test_training_planted_the_trigger(trigger: Callable[[Tensor], Tensor]) -> None:
    subject, clean = trained(trigger), trained(None)
    images, labels = subject.examples.images, subject.examples.labels
    assert (subject.predictions(images) == labels).float().mean() >= 0.95
    assert (subject.predictions(trigger(images)) == TARGET).float().mean() >= 0.95
    assert (clean.predictions(images) == labels).float().mean() >= 0.95
    assert (clean.predictions(trigger(images)) == TARGET).float().mean() <= 0.5


def test_planted_patch_is_reversed_and_its_clean_twin_stays_below() -> None:
    trojaned, clean = outcome(patched), outcome(None)
    assert reasr(trojaned, "pixel", TARGET) >= 0.8
    assert reasr(clean, "pixel", TARGET) <= 0.3
    assert trojaned.target == TARGET
    assert trojaned.score > clean.score + 0.2
    assert trojaned.evidence["scores"]["pixel"] > clean.evidence["scores"]["pixel"]


def test_planted_filter_is_reversed_and_its_clean_twin_stays_below() -> None:
    trojaned, clean = outcome(tinted), outcome(None)
    assert reasr(trojaned, "filter", TARGET) >= 0.8
    assert reasr(clean, "filter", TARGET) <= 0.6
    assert trojaned.evidence["scores"]["filter"] > clean.evidence["scores"]["filter"]
    assert trojaned.target == TARGET


def test_outcome_tells_every_candidate_and_shows_the_best_of_each_form() -> None:
    found = outcome(patched)
    assert 0 <= found.score <= 1
    told = found.evidence["candidates"]
    assert len({one["label"] for one in told}) == len(told) >= 4
    for one in told:
        assert set(one) == {
            *("layer", "neuron", "label", "lift", "agreement", "reasr_pixel", "reasr_filter"),
            *("by_bound_pixel", "by_bound_filter"),
        }
        assert one["reasr_pixel"] == one["by_bound_pixel"][0]
        assert len(one["by_bound_filter"]) == 2
        # What keeps a tighter bound keeps a looser one too.
        assert one["by_bound_filter"][0] >= one["by_bound_filter"][1]
    assert found.evidence["held_back"] == 7 * CLASSES
    for image in found.images.values():
        assert image.shape == (3, SIDE, SIDE)
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
    assert {name.split("_class_")[0] for name in found.images} == {"pixel", "filter"}


def test_small_batches_find_the_same_target() -> None:
    found = score(trained(patched), Work(settings={**QUICK, "batch": "12"}))
    assert found.target == TARGET
    assert len(found.evidence["candidates"]) == len(outcome(patched).evidence["candidates"])


def test_scan_leaves_the_network_as_it_was() -> None:
    subject = subject_of(network())
    before = {name: value.clone() for name, value in subject.module.state_dict().items()}
    score(subject, Work(settings={**QUICK, "steps": "2", "refining": "1"}))
    assert all(torch.equal(before[name], value) for name, value in subject.module.state_dict().items())
    assert not any("forward" in vars(module) or module._forward_hooks for module in subject.module.modules())
    assert not any(module._forward_pre_hooks for module in subject.module.modules())


def test_scan_is_repeatable_and_listed() -> None:
    subject = subject_of(network())
    work = Work(settings={**QUICK, "steps": "3", "refining": "1", "candidates": "2"})
    first, second = METHODS["abs"](subject, work), METHODS["abs"](subject, work)
    assert len(first.evidence["candidates"]) == 2
    assert first.evidence == second.evidence
    assert first.score == second.score


# The verdict


def test_reasr_counts_only_images_of_other_classes() -> None:
    subject = subject_of(network())
    images = subject.examples.images
    nothing = Patch(torch.zeros(SIDE, SIDE), torch.zeros(3))
    label = int(subject.predictions(images)[0])
    own = Examples(images, torch.full((len(images),), label))
    assert reasr_of(subject, nothing, label, own) == 0.0
    others = Examples(images, torch.full((len(images),), (label + 1) % CLASSES))
    share = float((subject.predictions(images) == label).double().mean())
    assert reasr_of(subject, nothing, label, others) == pytest.approx(share)


@pytest.mark.parametrize(
    ("reasr", "expected"),
    [
        ([0.0, 1.0, 0.0], 1.0),
        ([1.0, 1.0, 1.0], 0.5),
        ([1.0, 0.8, 0.0, 0.1], 0.95),  # one label that a natural trigger reaches does not hide a trojan
        ([0.2, 0.2], 0.1),
        ([0.0], 0.0),
    ],
)
def test_score_rewards_what_works_for_one_label_alone(reasr: list[float], expected: float) -> None:
    assert gap_score(reasr) == pytest.approx(expected)


def test_one_image_a_label_is_used_and_the_rest_held_back() -> None:
    labels = torch.tensor([2, 0, 2, 1, 1, 2])
    examples = Examples(torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 2, 2), labels)
    used, held = split(examples)
    assert used.labels.tolist() == [2, 0, 1]
    assert held.labels.tolist() == [2, 1, 2]
    assert not set(used.images[:, 0, 0, 0].tolist()) & set(held.images[:, 0, 0, 0].tolist())


def test_where_nothing_is_left_the_same_images_serve_twice() -> None:
    examples = Examples(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    assert len(split(examples)[1]) == 2


@pytest.mark.parametrize(("most", "kept"), [(3, [0, 3, 6]), (7, list(range(7))), (20, list(range(7)))])
def test_a_share_of_the_examples_is_spread_over_all(most: int, kept: list[int]) -> None:
    examples = Examples(torch.rand(7, 3, 2, 2), torch.arange(7))
    assert spread(examples, most).labels.tolist() == kept
