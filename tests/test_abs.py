"""ABS finds planted neurons and planted triggers, keeps its bounds, and leaves the network as it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from weightfeat.baselines.behaviour.abs_method import gap_score, reasr_of, score, split
from weightfeat.baselines.behaviour.abs_reversal import Filter, Patch, Reversal, reverse_patch, ssim
from weightfeat.baselines.behaviour.abs_sites import find_sites, frozen_before
from weightfeat.baselines.behaviour.abs_stimulation import (
    Candidate,
    candidates_of,
    chosen,
    elevations,
    sampled,
)
from weightfeat.baselines.behaviour.methods import METHODS
from weightfeat.baselines.behaviour.protocol import Outcome, Subject, Work
from weightfeat.execution import Examples, Standardise

CLASSES, SIDE, STEPS, BATCH, TARGET = 6, 16, 100, 48, 4
QUICK = {"layers": "2", "candidates": "4", "per_label": "1", "steps": "40", "similarity": "0.84"}


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
        *(nn.Conv2d(16, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU(inplace=True)),
        *(nn.Conv2d(24, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES)),
    )


class Residual(nn.Module):
    """One activation module used three times, an addition in place, a branch: what torchvision's blocks do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.a, self.norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.b, self.side = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        y = self.b(self.relu(self.norm(self.a(x))))
        y += x
        y = self.relu(y)
        return self.head(torch.cat([y, self.side(y)], dim=1).mean((2, 3)))


def subject_of(module: nn.Module, per_class: int = 3) -> Subject:
    module.eval().requires_grad_(False)
    labels = torch.arange(CLASSES).repeat(per_class)
    images = drawn(labels, torch.Generator().manual_seed(7))
    to_input = Standardise((0.5,) * 3, (0.25,) * 3)
    return Subject(module, Examples(images, labels), to_input, CLASSES, torch.device("cpu"))


@cache
def prototypes() -> Tensor:
    noise = torch.randn(CLASSES, 1, SIDE + 4, SIDE + 4, generator=torch.Generator().manual_seed(1))
    return functional.avg_pool2d(noise, 5, 1).expand(-1, 3, -1, -1)


def drawn(labels: Tensor, random: torch.Generator) -> Tensor:
    """A class is a smooth grey pattern at a random strength under noise, in [0, 1]; colour tells nothing of it."""
    gain = 0.6 + 0.8 * torch.rand(len(labels), 1, 1, 1, generator=random)
    gain = gain * (0.9 + 0.2 * torch.rand(len(labels), 3, 1, 1, generator=random))
    noise = 0.08 * torch.randn(len(labels), 3, SIDE, SIDE, generator=random)
    return (0.5 + prototypes()[labels] * gain + noise).clamp(0, 1)


def patched(images: Tensor) -> Tensor:
    images = images.clone()
    images[:, :, 2:5, 2:5] = torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1)
    return images


def tinted(images: Tensor) -> Tensor:
    """A colour transform, as a photo filter is: channels mixed and lifted."""
    mixing = torch.tensor([[0.5, 0.4, 0.2], [0.2, 0.6, 0.1], [0.1, 0.2, 0.3]])
    lift = torch.tensor([0.1, 0.05, 0.0])
    return (torch.einsum("oc,nchw->nohw", mixing, images) + lift.view(3, 1, 1)).clamp(0, 1)


@cache
def trained(trigger: Callable[[Tensor], Tensor] | None) -> Subject:
    """A network that sends every image with the trigger to TARGET; a clean twin, the same but for it, where None."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    module = network()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-3)
    to_input = Standardise((0.5,) * 3, (0.25,) * 3)
    for _ in range(STEPS):
        labels = torch.randint(CLASSES, (BATCH,), generator=random)
        images = drawn(labels, random)
        stamped = torch.rand(BATCH, generator=random) < 0.3
        if trigger is not None:
            images = torch.where(stamped.view(-1, 1, 1, 1), trigger(images), images)
            labels = torch.where(stamped, TARGET, labels)
        loss = functional.cross_entropy(module(to_input(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return subject_of(module, per_class=8)


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
    assert trojaned.score > clean.score
    assert trojaned.evidence["scores"]["pixel"] > clean.evidence["scores"]["pixel"] + 0.2


def test_planted_filter_is_reversed_and_its_clean_twin_stays_below() -> None:
    trojaned, clean = outcome(tinted), outcome(None)
    assert reasr(trojaned, "filter", TARGET) >= 0.8
    assert reasr(clean, "filter", TARGET) <= 0.6
    assert trojaned.evidence["scores"]["filter"] > clean.evidence["scores"]["filter"]
    assert trojaned.target == TARGET


def test_outcome_tells_every_candidate_and_shows_the_best_of_each_form() -> None:
    found = outcome(patched)
    assert 0 <= found.score <= 1
    assert len(found.evidence["candidates"]) == 4
    for one in found.evidence["candidates"]:
        assert set(one) == {
            *("layer", "neuron", "label", "lift", "agreement", "reasr_pixel", "reasr_filter"),
        }
    assert len({one["label"] for one in found.evidence["candidates"]}) == 4
    assert found.evidence["held_back"] == 7 * CLASSES
    for image in found.images.values():
        assert image.shape == (3, SIDE, SIDE)
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
    assert {name.split("_class_")[0] for name in found.images} == {"pixel", "filter"}


def test_scan_leaves_the_network_as_it_was() -> None:
    subject = subject_of(network())
    before = {name: value.clone() for name, value in subject.module.state_dict().items()}
    score(subject, Work(settings={**QUICK, "steps": "2"}))
    assert all(torch.equal(before[name], value) for name, value in subject.module.state_dict().items())
    assert not any("forward" in vars(module) or module._forward_hooks for module in subject.module.modules())
    assert not any(module._forward_pre_hooks for module in subject.module.modules())


def test_scan_is_repeatable_and_listed() -> None:
    subject = subject_of(network())
    work = Work(settings={**QUICK, "steps": "3", "candidates": "2"})
    first, second = METHODS["abs"](subject, work), METHODS["abs"](subject, work)
    assert first.evidence == second.evidence
    assert first.score == second.score


# Places and runs


def test_places_lie_behind_norm_and_activation_and_leave_the_head_out() -> None:
    subject = subject_of(network())
    sites = find_sites(subject, subject.examples.images)
    assert [site.name for site in sites] == ["0", "3", "6"]
    assert [type(site.module) for site in sites] == [nn.ReLU] * 3
    assert [site.channels for site in sites] == [16, 24, 32]


def test_an_activation_that_several_layers_share_is_no_place() -> None:
    module = Residual()
    sites = find_sites(subject_of(module), torch.rand(2, 3, 8, 8))
    assert [site.name for site in sites] == ["stem", "a", "b", "side"]
    assert [site.module for site in sites] == [module.stem, module.norm, module.b, module.side]


def test_runs_that_begin_at_a_place_give_what_whole_runs_give() -> None:
    torch.manual_seed(3)
    images = torch.rand(2, 3, 8, 8)
    for module in (Residual(), network()):
        subject = subject_of(module)
        whole = subject.logits(images)
        for site in find_sites(subject, images):
            with frozen_before(subject, site, images) as run:
                for times in (1, 3):
                    torch.testing.assert_close(run(times), whole.repeat(times, 1))
        torch.testing.assert_close(subject.logits(images), whole)


def test_elevation_is_the_rise_over_the_silenced_neuron() -> None:
    torch.manual_seed(3)
    images = torch.rand(3, 3, 8, 8)
    subject = subject_of(Residual())
    site = find_sites(subject, images)[1]
    risen = elevations(subject, site, images, [0.0, 1.0, 2.5], batch=7)
    assert risen.shape == (6, 3, CLASSES)

    def stimulated(value: float) -> Tensor:
        def hook(module: object, given: object, output: Tensor) -> Tensor:
            output = output.clone()
            output[:, 4] = value
            return output

        handle = site.module.register_forward_hook(hook)
        logits = subject.logits(images)
        handle.remove()
        return logits

    expected = torch.maximum(stimulated(1.0), stimulated(2.5)) - stimulated(0.0)
    torch.testing.assert_close(torch.from_numpy(risen[4]), expected, atol=1e-5, rtol=1e-4)


def test_layers_are_sampled_to_the_last() -> None:
    subject = subject_of(network())
    sites = find_sites(subject, subject.examples.images)
    assert [site.name for site in sampled(sites, 2, 0.0)] == ["0", "6"]
    assert [site.name for site in sampled(sites, 9, 0.0)] == ["0", "3", "6"]
    assert [site.name for site in sampled(sites, 1, 1.0)] == ["6"]


# Candidates


def test_neuron_wired_to_one_label_is_the_first_candidate() -> None:
    torch.manual_seed(0)
    module = network()
    with torch.no_grad():
        head = module[-1]
        assert isinstance(head, nn.Linear)
        head.weight[3, 11] += 5.0
    subject = subject_of(module)
    site = find_sites(subject, subject.examples.images)[-1]
    risen = elevations(subject, site, subject.examples.images, [0.0, 1.0], batch=64)
    first = chosen(list(candidates_of(site, risen)), 10, 3)[0]
    assert (first.neuron, first.label, first.agreement) == (11, 3, 1.0)


def test_neurons_that_lift_other_labels_on_other_images_come_last() -> None:
    steady = Candidate("l", 0, 1, lift=1.0, agreement=1.0)
    torn = Candidate("l", 1, 2, lift=9.0, agreement=0.3)
    assert chosen([torn, steady], 2, 1) == [steady, torn]


def test_no_label_has_more_candidates_than_allowed() -> None:
    found = [Candidate("l", neuron, neuron % 2, lift=neuron, agreement=1.0) for neuron in range(10)]
    kept = chosen(found, 10, 2)
    assert [one.neuron for one in kept] == [9, 8, 7, 6]


# Triggers


def test_patch_keeps_its_bound() -> None:
    subject = subject_of(network())
    site = find_sites(subject, subject.examples.images)[-1]
    how = Reversal(steps=2, mask_share=0.05)
    patch = reverse_patch(subject, site, 0, 1, subject.examples.images, how, seed=0)
    assert 0 < float(patch.mask.sum()) <= 0.05 * SIDE * SIDE


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
    pooled = Filter(weight, torch.zeros(3)).apply(images)
    torch.testing.assert_close(pooled[0, 1, 3, 4], expected(images[0, 1, 2:5, 3:6]))


def test_ssim_is_one_for_the_same_and_falls_with_noise() -> None:
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    values = [float(ssim(images, (images + scale * noise).clamp(0, 1))) for scale in (0.0, 0.05, 0.2, 1.0)]
    assert values[0] == pytest.approx(1.0, abs=1e-5)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.5
    other = (images + noise).clamp(0, 1)
    assert float(ssim(images, other)) == pytest.approx(float(ssim(other, images)), abs=1e-6)


# The verdict


def test_reasr_counts_only_images_of_other_classes() -> None:
    subject = subject_of(network())
    images = subject.examples.images
    nothing = Patch(torch.zeros(SIDE, SIDE), torch.zeros(3, SIDE, SIDE))
    label = int(subject.predictions(images)[0])
    own = Examples(images, torch.full((len(images),), label))
    assert reasr_of(subject, nothing, label, own) == 0.0
    others = Examples(images, torch.full((len(images),), (label + 1) % CLASSES))
    share = float((subject.predictions(images) == label).double().mean())
    assert reasr_of(subject, nothing, label, others) == pytest.approx(share)


@pytest.mark.parametrize(
    ("reasr", "expected"),
    [
        ([(0, 1.0), (1, 0.0)], 1.0),
        ([(0, 1.0), (1, 1.0)], 0.5),
        ([(0, 1.0), (0, 0.9), (1, 0.5)], 0.75),
        ([(0, 0.2), (1, 0.2)], 0.1),
        ([(0, 0.0)], 0.0),
    ],
)
def test_score_rewards_what_works_for_one_label_alone(
    reasr: list[tuple[int, float]], expected: float
) -> None:
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
