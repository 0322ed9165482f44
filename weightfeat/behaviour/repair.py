"""Neural Cleanse's repair of a trojaned network: what it is measured by, and its first way, pruning.

Wang et al., IEEE S&P 2019, section VI.B; the second way, unlearning, has a module of its own. Both work on a copy. As
a few hundred clean images are all there is, most of them teach or rank and the others measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from weightfeat.behaviour.portions import turns
from weightfeat.behaviour.protocol import Subject
from weightfeat.behaviour.triggers import Trigger, attack_success, clean_accuracy, share
from weightfeat.errors import NotAClassifier
from weightfeat.execution import Examples

_HELD = 4  # every so manieth image of a class is held back to measure on


@dataclass(frozen=True)
class Pruning:
    """Channels are cut in steps of `step` (a share of all) until attack success is at most `success`.

    Cutting ends earlier where the clean accuracy of the ranking images would fall by more than `accuracy_loss`, or at
    the share `most` of all channels.
    """

    success: float = 0.01
    step: float = 0.01
    accuracy_loss: float = 0.03
    most: float = 0.8


@dataclass(frozen=True)
class Measured:
    """Clean accuracy and attack success in [0, 1]; `true_attack` is that of images with the real trigger on them."""

    clean_accuracy: float
    attack_success: float
    true_attack: float | None = None


def split(examples: Examples) -> tuple[Examples, Examples]:
    """Three of four images of each class to work with, the second, sixth and so on of each to measure on."""
    held = turns(examples.labels) % _HELD == 1
    return examples.of(~held), examples.of(held)


def measure(subject: Subject, trigger: Trigger, held: Examples, stamped: Examples | None = None) -> Measured:
    """The subject on images it was not repaired with; `stamped` carry the true trigger under their true labels."""
    on_held = replace(subject, examples=held)
    true = None
    if stamped is not None:
        others = stamped.of(stamped.labels != trigger.target)
        true = share(subject.predictions(others.images) == trigger.target)
    return Measured(clean_accuracy(on_held), attack_success(on_held, trigger), true)


def prune(subject: Subject, trigger: Trigger, how: Pruning = Pruning()) -> tuple[nn.Module, int]:
    """A copy without the channels before the head that the trigger excites most, and how many were cut.

    Channels are ranked by how much more they answer to stamped than to clean images (section VI.B); cutting one is
    setting the head's weights for it to zero, which is what its silence would do.

    Raises NotAClassifier where the module has no layer with an output a class.
    """
    module = deepcopy(subject.module)
    copy = replace(subject, module=module)
    head = head_of(module, subject.num_classes)
    others = subject.examples.of(subject.examples.labels != trigger.target).images
    excited = _answers(copy, head, trigger.stamp(others)) - _answers(copy, head, others)
    order = torch.argsort(excited, descending=True)
    least = clean_accuracy(subject) - how.accuracy_loss
    stride, cut = max(1, round(how.step * len(order))), 0
    whole = head.weight.detach().clone()
    while attack_success(copy, trigger) > how.success and cut + stride <= how.most * len(order):
        head.weight[:, order[cut : cut + stride]] = 0
        if clean_accuracy(copy) < least:
            head.weight[:, order[cut : cut + stride]] = whole[:, order[cut : cut + stride]]
            break
        cut += stride
    return module, cut


def head_of(module: nn.Module, classes: int) -> nn.Linear | nn.Conv2d:
    """The classification layer: the last with an output a class. Raises NotAClassifier where there is none."""
    for layer in reversed(list(module.modules())):
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer.weight.shape[0] == classes:
            return layer
    raise NotAClassifier(
        "no layer has an output a class",
        where=type(module).__name__,
        expected="a classifier",
        remedy="give another",
    )


@torch.no_grad()
def _answers(subject: Subject, head: nn.Module, images: Tensor) -> Tensor:
    """Mean input of the head a channel, over images and positions: (channels,)."""
    sums: list[Tensor] = []

    def collect(_: nn.Module, inputs: Sequence[Tensor]) -> None:
        answers = inputs[0].detach().double().cpu()
        sums.append(
            answers.mean(dim=tuple(range(2, answers.ndim))).sum(dim=0) if answers.ndim > 2 else answers.sum(0)
        )

    handle = head.register_forward_pre_hook(collect)
    try:
        subject.predictions(images)
    finally:
        handle.remove()
    return torch.stack(sums).sum(dim=0) / max(1, len(images))
