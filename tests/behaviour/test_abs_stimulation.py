"""Stimulation runs from the right places, measures rises and picks planted neurons first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from abs_networks import CLASSES, Residual, network, subject_of
from weightfeat.behaviour.abs_sites import find_sites, frozen_before
from weightfeat.behaviour.abs_stimulation import (
    Candidate,
    candidates_of,
    chosen,
    elevations,
    sampled,
)


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
