"""Neural Cleanse's two repairs of a trojaned network: pruning what the trigger excites, and unlearning the trigger.

Wang et al., IEEE S&P 2019, sections VI.B and VI.C. Both work on a copy. As a few hundred clean images are all there
is, half of them teach or rank and the others measure, and fine-tuning leaves the moments of batch norm as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightfeat.baselines.behaviour.protocol import Subject
from weightfeat.baselines.behaviour.reversal import Reversal, reverse
from weightfeat.baselines.behaviour.triggers import Trigger, attack_success, clean_accuracy, share
from weightfeat.errors import NotAClassifier
from weightfeat.execution import Examples


@dataclass(frozen=True)
class Pruning:
    """Channels are cut in steps of `step` (a share of all) until attack success is at most `success`.

    Cutting ends earlier where the clean accuracy of the ranking images would fall by more than `accuracy_loss`, or at
    the share `most` of all channels.
    """

    success: float = 0.01
    step: float = 0.01
    accuracy_loss: float = 0.05
    most: float = 0.8


@dataclass(frozen=True)
class Unlearning:
    """Fine-tuning with Adam: `epochs` passes in batches of `batch`, the trigger on a share `stamped` of each.

    The paper unlearns once. A reversed trigger is smaller than the true one, though, and a few hundred images teach to
    ignore just it: so in each further one of `cycles` a trigger is reversed anew from the network as repaired
    so far, in at most `rounds` rounds, and unlearned too. `shift` moves the trigger by up to so many pixels each
    way, anew for every image, for triggers that work at any place.
    """

    cycles: int = 3
    epochs: int = 10
    batch: int = 32
    learning_rate: float = 3e-4
    stamped: float = 0.2
    shift: int = 0
    rounds: int = 40


@dataclass(frozen=True)
class Measured:
    """Clean accuracy and attack success in [0, 1]; `true_attack` is that of images with the real trigger on them."""

    clean_accuracy: float
    attack_success: float
    true_attack: float | None = None


def split(examples: Examples) -> tuple[Examples, Examples]:
    """Every other image of each class to work with, the others to measure on; a class's only image works."""
    same = examples.labels[:, None] == examples.labels[None, :]
    odd = same.tril(-1).sum(dim=1) % 2 == 1
    return examples.of(~odd), examples.of(odd)


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


def unlearn(
    subject: Subject,
    trigger: Trigger,
    how: Unlearning = Unlearning(),
    seed: int = 0,
    on_step: Callable[[], object] | None = None,
) -> tuple[nn.Module, list[float]]:
    """A copy taught the examples' true labels under the trigger, and the mask norms of the triggers it was taught."""
    copy = replace(subject, module=deepcopy(subject.module))
    norms: list[float] = []
    for cycle in range(how.cycles):
        if cycle:
            trigger = reverse(
                copy, trigger.target, Reversal(rounds=how.rounds), seed + cycle, on_step
            ).trigger
        norms.append(trigger.norm)
        _fine_tune(copy, trigger, how, torch.Generator().manual_seed(1_000_003 * seed + cycle), on_step)
    return copy.module, norms


def _fine_tune(
    subject: Subject,
    trigger: Trigger,
    how: Unlearning,
    random: torch.Generator,
    on_step: Callable[[], object] | None,
) -> None:
    """Section VI.C, on the subject's own module."""
    subject.module.requires_grad_(True)
    optimizer = torch.optim.Adam(subject.module.parameters(), lr=how.learning_rate)
    for chosen in _batches(len(subject.examples), how, random):
        images, labels = subject.examples.images[chosen], subject.examples.labels[chosen]
        stamped = torch.zeros(len(images), dtype=torch.bool)
        stamped[: round(how.stamped * len(images))] = True
        images = torch.where(stamped.view(-1, 1, 1, 1), _stamped(trigger, images, how.shift, random), images)
        loss = functional.cross_entropy(subject.logits(images.to(subject.device)), labels.to(subject.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if on_step is not None:
            on_step()
    optimizer.zero_grad(set_to_none=True)
    subject.module.requires_grad_(False)


def steps_of(examples: int, how: Unlearning) -> int:
    """At most so many steps a whole unlearning reports: batches of fine-tuning and rounds of reversal."""
    return how.cycles * how.epochs * -(-examples // how.batch) + (how.cycles - 1) * how.rounds


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


def _batches(count: int, how: Unlearning, random: torch.Generator) -> Iterator[Tensor]:
    for _ in range(how.epochs):
        yield from torch.split(torch.randperm(count, generator=random), how.batch)


def _stamped(trigger: Trigger, images: Tensor, shift: int, random: torch.Generator) -> Tensor:
    """The trigger on every image, each at its own random shift of up to `shift` pixels, nothing entering at the rim."""
    if not shift:
        return trigger.stamp(images)
    height, width = trigger.mask.shape
    padding = (shift,) * 4
    mask = functional.pad(trigger.mask[None], padding)[0]
    pattern = functional.pad(trigger.pattern, padding)
    moved = []
    for image in images:
        top, left = torch.randint(2 * shift + 1, (2,), generator=random).tolist()
        rows, columns = slice(top, top + height), slice(left, left + width)
        moved.append(Trigger(trigger.target, mask[rows, columns], pattern[:, rows, columns]).stamp(image))
    return torch.stack(moved)
