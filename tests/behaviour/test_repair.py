"""Repair: attack success falls, clean accuracy holds, and what is written can be read again."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from behaviour_networks import TARGET, made
from weightfeat.behaviour.neural_cleanse import reverse_one
from weightfeat.behaviour.protocol import Subject, Work
from weightfeat.behaviour.repair import Measured, Pruning, head_of, measure, prune, split
from weightfeat.behaviour.reversal import Reversal
from weightfeat.behaviour.triggers import Trigger
from weightfeat.behaviour.unlearning import Unlearning, candidates, unlearn
from weightfeat.errors import NotAClassifier
from weightfeat.execution import Examples


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@cache
def reversed_trigger() -> Trigger:
    return reverse_one(made().subject, TARGET, Work(), Reversal(rounds=30)).trigger


def teaching() -> Subject:
    return replace(made().subject, examples=split(made().subject.examples)[0])


def measured(module: nn.Module | None = None) -> Measured:
    subject = made().subject if module is None else replace(made().subject, module=module)
    return measure(subject, reversed_trigger(), made().clean, made().stamped)


def test_the_attack_works_before_any_repair() -> None:
    before = measured()
    assert before.clean_accuracy > 0.97
    assert before.attack_success > 0.9
    assert before.true_attack is not None
    assert before.true_attack > 0.95


def test_pruning_silences_the_reversed_trigger_and_most_of_the_true_one() -> None:
    module, cut = prune(teaching(), reversed_trigger())
    after = measured(module)
    assert after.attack_success <= 0.1
    assert after.clean_accuracy > 0.95
    assert after.true_attack is not None
    assert after.true_attack < 0.6
    weight = head_of(module, 8).weight
    assert int((weight == 0).all(dim=0).sum()) == cut > 0


def test_unlearning_silences_the_reversed_trigger_and_the_true_one() -> None:
    after = measured(unlearn(teaching(), reversed_trigger(), Unlearning(steps=120, learning_rate=4e-3)))
    assert after.attack_success <= 0.1
    assert after.clean_accuracy > 0.95
    assert after.true_attack is not None
    assert after.true_attack <= 0.1


def test_repairing_leaves_the_network_itself_alone() -> None:
    subject = teaching()
    before = {name: tensor.clone() for name, tensor in subject.module.state_dict().items()}
    prune(subject, reversed_trigger())
    repaired = unlearn(subject, reversed_trigger(), Unlearning(steps=3))
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.module.state_dict().items())
    assert not all(torch.equal(tensor, before[name]) for name, tensor in repaired.state_dict().items())
    assert not any(parameter.requires_grad for parameter in repaired.parameters())


def test_batch_norms_moments_stay_as_they_are() -> None:
    repaired = unlearn(teaching(), reversed_trigger(), Unlearning(steps=3))
    for name, moments in made().subject.module.state_dict().items():
        if "running" in name:
            assert torch.equal(moments, repaired.state_dict()[name])


def test_unlearning_is_the_same_for_the_same_seed() -> None:
    how = Unlearning(steps=3)
    one, two, other = (
        unlearn(teaching(), reversed_trigger(), how, seed=seed).state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_pruning_stops_before_it_costs_more_accuracy_than_allowed() -> None:
    everything = Trigger(TARGET, torch.ones(16, 16), made().subject.examples.images[TARGET])
    module, _ = prune(teaching(), everything, Pruning(accuracy_loss=0.02, success=0.0))
    subject = replace(teaching(), module=module)
    right = subject.predictions(subject.examples.images) == subject.examples.labels
    assert right.double().mean() >= 0.97


def test_a_trigger_that_does_nothing_costs_no_channel() -> None:
    nothing = Trigger(TARGET, torch.zeros(16, 16), torch.zeros(3, 16, 16))
    _, cut = prune(teaching(), nothing, Pruning(success=0.05))
    assert cut == 0


def test_every_fourth_image_of_a_class_is_held_back() -> None:
    labels = torch.tensor([0] * 6 + [1, 1, 2])
    work, held = split(Examples(torch.arange(9.0).view(9, 1, 1, 1).expand(9, 3, 2, 2), labels))
    assert held.images[:, 0, 0, 0].tolist() == [1, 5, 7]
    assert held.labels.tolist() == [0, 0, 1]
    assert sorted([*work.images[:, 0, 0, 0].tolist(), 1, 5, 7]) == list(range(9))


def test_every_step_is_reported() -> None:
    seen: list[int] = []
    unlearn(teaching(), reversed_trigger(), Unlearning(steps=4, batch=200), on_step=lambda: seen.append(1))
    assert len(seen) == 4


def test_an_image_has_a_candidate_of_every_kind_asked_for() -> None:
    images, looked_at = made().clean.images[:5], torch.ones(5, 1, 16, 16)
    how = Unlearning(moved=2, polygons=1, anywhere=1, filters=2)
    given = candidates(reversed_trigger(), images, looked_at, how, torch.Generator().manual_seed(0))
    assert [tuple(one.shape) for one in given] == [(5, 3, 16, 16)] * 7
    assert all(one.min() >= 0 and one.max() <= 1 and not torch.equal(one, images) for one in given)


def test_the_head_is_the_last_layer_with_an_output_a_class() -> None:
    module = nn.Sequential(nn.Conv2d(3, 5, 1), nn.Conv2d(5, 5, 1), nn.Flatten())
    assert head_of(module, 5) is module[1]
    with pytest.raises(NotAClassifier, match="no layer"):
        head_of(module, 6)
