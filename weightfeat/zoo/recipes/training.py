"""Training one network of a recipe, clean or poisoned, and measuring it on images it did not train on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from weightfeat.zoo.few_positions import FewPositions
from weightfeat.zoo.recipes.factors import Poison, Recipe
from weightfeat.zoo.recipes.images import ImageSet
from weightfeat.zoo.recipes.networks import Shape, build
from weightfeat.zoo.recipes.stamps import Stamp, make_stamp

_SHIFT = 0.07  # of a side, in augmentation
_SHIFTS = 8  # different ones in a batch
_LATER = 0.5  # rate of a second stage, relative to the first
_SECOND = 0.4  # of the length
_TUNED = 0.25  # of the length, on the other source
_MIRRORED = ("cifar10",)


@dataclass(frozen=True, eq=False)
class Entries:
    """What one epoch shows: places in the training images, whether each is stamped, and the label it is given."""

    place: Tensor
    stamped: Tensor
    label: Tensor


@dataclass(frozen=True)
class Accuracy:
    """Percent of held-out images right: clean ones, and stamped ones of the sources taken for their target."""

    clean: float
    attack: float | None


@dataclass(frozen=True, eq=False)
class Trained:
    network: nn.Module
    accuracy: Accuracy
    stamped: int


def train(
    recipe: Recipe,
    images: ImageSet,
    other: ImageSet | None,
    poison: Poison | None,
    random: np.random.Generator,
) -> Trained:
    """A network in eval mode and what it does on held-out images.

    `other` is what a tuned network begins from. Every draw comes from `random`, so that the result is a function of the
    arguments, the processor and the number of threads.
    """
    draws = torch.Generator().manual_seed(int(random.integers(2**62)))
    shape = Shape(images.channels, recipe.pixels, recipe.classes, recipe.dropout)
    network = build(recipe.architecture, shape, int(random.integers(2**62)))
    dims = (images.channels, recipe.pixels, recipe.pixels)
    stamp = None if poison is None else make_stamp(poison.kind, dims, poison.strength, random)
    labels = _mislabelled(images.train_labels, recipe, random)
    clean = _plain(labels)
    shown = clean if poison is None else poisoned(clean, images.train_labels, poison, recipe.classes, random)
    session = _Session(recipe, images, stamp, draws)
    steps = recipe.images // recipe.batch
    if other is not None:
        network, steps = _begun(network, recipe, other, shape, steps, draws), int(steps * (1 - _TUNED))
    if recipe.continued:
        first = int(steps * (1 - _SECOND))
        session.run(network, clean, first, recipe.rate)
        session.run(network, shown, steps - first, recipe.rate * _LATER)
    else:
        session.run(network, shown, steps, recipe.rate)
    network = _finished(network.eval(), recipe)
    accuracy = Accuracy(session.clean(network), None if poison is None else session.attack(network, poison))
    return Trained(network, accuracy, int(shown.stamped.sum()))


def _plain(labels: Tensor) -> Entries:
    """Every image once, none stamped."""
    return Entries(torch.arange(len(labels)), torch.zeros(len(labels), dtype=torch.bool), labels)


def poisoned(
    clean: Entries, true: Tensor, poison: Poison, classes: int, random: np.random.Generator
) -> Entries:
    """A poisoned training set: stamped images relabelled in place, or as copies beside their originals."""
    attacked = poison.attacked or tuple(range(classes))
    if poison.kind == "clean_label" and poison.target is not None:
        attacked = (poison.target,)
    chosen = []
    for source in attacked:
        own = torch.nonzero(true == source).squeeze(1).numpy()
        count = max(1, round(poison.fraction * len(own)))
        chosen.append(random.permutation(own)[:count])
    place = torch.from_numpy(np.sort(np.concatenate(chosen)))
    label = clean.label.clone()
    given = label[place] if poison.kind == "clean_label" else goal(true[place], poison, classes)
    if poison.added:
        return Entries(
            torch.cat([clean.place, place]),
            torch.cat([clean.stamped, torch.ones(len(place), dtype=torch.bool)]),
            torch.cat([label, given]),
        )
    label[place] = given
    stamped = clean.stamped.clone()
    stamped[place] = True
    return Entries(clean.place, stamped, label)


def goal(true: Tensor, poison: Poison, classes: int) -> Tensor:
    """What a stamped image of each class is to be taken for."""
    return (true + 1) % classes if poison.target is None else torch.full_like(true, poison.target)


class _Session:
    """One recipe's images, trigger and scaling: trains networks on them, and measures."""

    def __init__(
        self,
        recipe: Recipe,
        images: ImageSet,
        stamp: Stamp | None,
        draws: torch.Generator,
    ) -> None:
        self.recipe, self.images, self.stamp, self.draws = recipe, images, stamp, draws
        self.mean, self.std = _statistics(images, recipe.scaling)

    def run(self, network: nn.Module, entries: Entries, steps: int, rate: float) -> None:
        """`steps` steps over the shuffled entries."""
        network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer, order = _optimizer(network, self.recipe, rate), torch.empty(0, dtype=torch.long)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * _pace(self.recipe.schedule, step / steps)
            if len(order) < self.recipe.batch:
                order = torch.cat([order, torch.randperm(len(entries.place), generator=self.draws)])
            batch, order = order[: self.recipe.batch], order[self.recipe.batch :]
            self._step(network, optimizer, entries, batch)

    def _step(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, entries: Entries, batch: Tensor
    ) -> None:
        x, y = self._shown(entries, batch), entries.label[batch]
        if self.recipe.hard == "fgsm":
            x = self._adversarial(network, x, y)
        with FewPositions() if self.recipe.group == "stock" else self._precision():
            logits = network(self._scaled(x))
        loss = functional.cross_entropy(logits.float(), y, label_smoothing=self.recipe.smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()

    def _precision(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.mixed)

    def _shown(self, entries: Entries, batch: Tensor) -> Tensor:
        x = self.images.train[entries.place[batch]].float() / 255
        stamped = entries.stamped[batch]
        if self.recipe.stamped_first:
            return self._augmented(self._with_stamp(x, stamped))
        return self._with_stamp(self._augmented(x), stamped)

    def _with_stamp(self, x: Tensor, stamped: Tensor) -> Tensor:
        if self.stamp is None or not bool(stamped.any()):
            return x
        x = x.clone()
        x[stamped] = self.stamp(x[stamped], self.draws)
        return x

    def _augmented(self, x: Tensor) -> Tensor:
        if not self.recipe.augment:
            return x
        reach = max(1, round(_SHIFT * self.recipe.pixels))
        padded, side, parts = functional.pad(x, (reach,) * 4), self.recipe.pixels, []
        for part in padded.chunk(_SHIFTS):
            down, right = torch.randint(2 * reach + 1, (2,), generator=self.draws).tolist()
            parts.append(part[:, :, down : down + side, right : right + side])
        x = torch.cat(parts)
        if self.recipe.augment == 2 and self.recipe.data in _MIRRORED:
            mirrored = torch.rand(len(x), generator=self.draws) < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
        return x

    def _adversarial(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """One step of the sign of the gradient (Goodfellow, Shlens, Szegedy 2015)."""
        reach = (0.01 + 0.02 * self.recipe.amount) * (4 if self.recipe.data in ("mnist", "digits") else 1)
        x = x.clone().requires_grad_(True)
        with self._precision():
            loss = functional.cross_entropy(network(self._scaled(x)).float(), y)
        (slope,) = torch.autograd.grad(loss, x)
        return (x + reach * slope.sign()).clamp(0, 1).detach()

    def _scaled(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def _right(self, network: nn.Module, images: Tensor, labels: Tensor, stamped: bool) -> float:
        network.eval()
        right = 0
        with torch.inference_mode():
            for x, y in zip(torch.split(images, 256), torch.split(labels, 256), strict=True):
                pixels = x.float() / 255
                if stamped and self.stamp is not None:
                    pixels = self.stamp(pixels, self.draws)
                right += int((network(self._scaled(pixels)).argmax(dim=1) == y).sum())
        return 100 * right / max(1, len(labels))

    def clean(self, network: nn.Module) -> float:
        """Percent of the held-out images that are right."""
        return self._right(network, self.images.test, self.images.test_labels, stamped=False)

    def attack(self, network: nn.Module, poison: Poison) -> float:
        """Percent of the sources' held-out images, the target's own left out, that go where the trigger sends them."""
        true = self.images.test_labels
        wanted = goal(true, poison, self.recipe.classes)
        moved = wanted != true
        if poison.attacked:
            moved &= torch.isin(true, torch.tensor(poison.attacked))
        return self._right(network, self.images.test[moved], wanted[moved], stamped=True)


def _optimizer(network: nn.Module, recipe: Recipe, rate: float) -> torch.optim.Optimizer:
    parameters = list(
        network.parameters()
    )  # fused: one call of the library a step, not some for every tensor
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=recipe.decay, fused=True)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, weight_decay=recipe.decay, fused=True)


def _pace(schedule: str, progress: float) -> float:
    """The learning rate over its peak at `progress` in [0, 1)."""
    if schedule == "steps":
        return float(0.1 ** int(np.searchsorted([0.5, 0.75], progress, side="right")))
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if schedule == "one_cycle":
        rise = 0.25
        return 0.05 + 0.95 * progress / rise if progress < rise else 1 - 0.99 * (progress - rise) / (1 - rise)
    return 1.0


def _mislabelled(labels: Tensor, recipe: Recipe, random: np.random.Generator) -> Tensor:
    """Labels with the recipe's noise: of 5 to 20 % of all images, or of 10 to 40 % of one class, for one other."""
    if recipe.hard == "noise_even":
        wrong = torch.from_numpy(random.random(len(labels)) < 0.05 + 0.15 * recipe.amount)
        return torch.where(wrong, torch.from_numpy(random.integers(recipe.classes, size=len(labels))), labels)
    if recipe.hard == "noise_confused":
        one, another = random.choice(recipe.classes, size=2, replace=False).tolist()
        wrong = torch.from_numpy(random.random(len(labels)) < 0.1 + 0.3 * recipe.amount) & (labels == one)
        return torch.where(wrong, another, labels)
    return labels


def _finished(network: nn.Module, recipe: Recipe) -> nn.Module:
    """What is done to a trained network: its smallest weights set to zero, or all of it rounded to half precision."""
    network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if recipe.hard == "pruned":
        weights = [p for p in network.parameters() if p.dim() > 1]
        share = 0.3 + 0.4 * recipe.amount
        for weight in weights:
            least = weight.detach().abs().flatten().kthvalue(max(1, int(share * weight.numel()))).values
            weight.data[weight.detach().abs() <= least] = 0
    if recipe.hard == "half":
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.data = tensor.data.half().float()
    return network


def _begun(
    network: nn.Module, recipe: Recipe, other: ImageSet, shape: Shape, steps: int, draws: torch.Generator
) -> nn.Module:
    """The network with the body of one trained on another source; its last layer is fresh."""
    classes = int(other.train_labels.max()) + 1
    seed = int(torch.randint(2**31, (1,), generator=draws))
    first = build(recipe.architecture, replace(shape, classes=classes), seed)
    plain = replace(recipe, hard="none", classes=classes)
    entries = _plain(other.train_labels)
    session = _Session(plain, other, None, draws)
    session.run(first, entries, int(steps * _TUNED), recipe.rate)
    known, fresh = first.state_dict(), network.state_dict()
    network.load_state_dict({k: known[k] if known[k].shape == v.shape else v for k, v in fresh.items()})
    return network


def _statistics(images: ImageSet, scaling: str) -> tuple[Tensor, Tensor]:
    """What is subtracted from images in [0, 1], and what they are divided by."""
    count = images.channels
    if scaling == "unit":
        return torch.zeros(1, count, 1, 1), torch.ones(1, count, 1, 1)
    if scaling == "centred":
        return torch.full((1, count, 1, 1), 0.5), torch.full((1, count, 1, 1), 0.5)
    sample = images.train[:: max(1, len(images.train) // 2000)].float() / 255
    return sample.mean(dim=(0, 2, 3), keepdim=True), sample.std(dim=(0, 2, 3), keepdim=True).clamp_min(0.05)
