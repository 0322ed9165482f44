"""Training one network, and measuring what it learned.

Poisoning relabels in place: an image of a source class is stamped with the network's probability and then carries
the target's label, so sources lose samples and the target gains them; nothing else differs from a clean network.

With the rule "schedule" the number of images is planned before the label is known and the learning rate rises and
falls once over it. Clean and poisoned networks train for exactly as long: a network that misses a gate is not trained
on but drawn anew, or how long a network trained would tell its label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightfeat.execution.vision import build_network
from weightfeat.zoo.few_positions import FewPositions
from weightfeat.zoo.render import Renderer
from weightfeat.zoo.specification import NetworkSpec, Stream

MEAN, STD = 0.5, 0.25  # of every channel
_WARM_UP = 0.15  # of the schedule


@dataclass(frozen=True)
class Scores:
    """Accuracy in percent and mean cross-entropy on one kind of images."""

    accuracy: float
    loss: float


@dataclass(frozen=True)
class Epoch:
    """One line of model_detailed_stats.csv. `triggered` is None for a clean network."""

    number: int
    train: Scores
    combined: Scores
    clean: Scores
    triggered: Scores | None


@dataclass(frozen=True, eq=False)
class Trained:
    """A network after its training, in eval mode on the CPU, and what was measured on fresh images.

    Attributes
    ----------
    test_clean, test_triggered : on images of their own, after the last choice was made.
    clean_seen, stamped_seen : training images by true class and by stamped source class.
    """

    network: nn.Module
    epochs: tuple[Epoch, ...]
    best: Epoch
    test_clean: Scores
    test_triggered: Scores | None
    images: int
    clean_seen: tuple[int, ...]
    stamped_seen: tuple[int, ...]
    missed: tuple[str, ...] = field(default=())


class Trainer:
    """One attempt at one network. Deterministic given the spec, the device and the number of threads."""

    def __init__(
        self, spec: NetworkSpec, device: torch.device, progress: Callable[[Epoch], None] | None = None
    ) -> None:
        self.spec, self.device, self.progress = spec, device, progress
        self.preset, self.classes = spec.preset, spec.factors.number_classes
        self.renderer = Renderer(spec, device)
        self.batch = self.preset.batch_size(spec.architecture)
        self.peak = self.preset.peak_rate(spec.architecture)
        torch.manual_seed(spec.torch_seed(Stream.WEIGHTS))
        network = build_network(spec.architecture.name, self.classes)
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = list(self.network.parameters())
        self.flat = [_in_memory_order(parameter.detach()) for parameter in self.parameters]
        self.optimizer = torch.optim.Adam(self.flat, lr=self.peak, fused=True)
        self.random = torch.Generator(device).manual_seed(spec.torch_seed(Stream.BATCHES))
        self.evaluation = torch.Generator(device).manual_seed(spec.torch_seed(Stream.EVALUATION))
        self.sources = torch.zeros(self.classes, dtype=torch.bool, device=device)
        if spec.trigger is not None:
            self.sources[list(spec.trigger.sources)] = True
        self.clean_seen = torch.zeros(self.classes, dtype=torch.long, device=device)
        self.stamped_seen = torch.zeros_like(self.clean_seen)
        self.epochs: list[Epoch] = []

    def run(self) -> Trained:
        """Train to the end of the plan, or to the gates, and score the kept network on fresh images."""
        planned = self.preset.images(self.spec.architecture, self.classes) // self.batch
        best = self._until_stalled(planned) if self.preset.stop == "patience" else self._scheduled(planned)
        self._clear_gradients()
        test_clean = self.score(self.preset.final_images, triggered=False)
        test_triggered = self.score(self.preset.final_images, triggered=True) if self.spec.poisoned else None
        network = self.network.to("cpu").to(memory_format=torch.contiguous_format).eval()
        return Trained(
            network,
            tuple(self.epochs),
            best,
            test_clean,
            test_triggered,
            images=int(self.clean_seen.sum() + self.stamped_seen.sum()),
            clean_seen=tuple(self.clean_seen.tolist()),
            stamped_seen=tuple(self.stamped_seen.tolist()),
            missed=self._missed(test_clean, test_triggered),
        )

    def score(self, images: int, *, triggered: bool) -> Scores:
        """Accuracy and loss on fresh images: of all classes, or stamped ones of the sources against the target."""
        self.network.eval()
        right, loss, seen = 0, 0.0, 0
        with torch.inference_mode():
            while seen < images:
                n = min(self.batch, images - seen)
                x, y = self._held_out(n, seen, triggered)
                logits = self.network(normalise(x)).float()
                loss += float(functional.cross_entropy(logits, y, reduction="sum"))
                right += int((logits.argmax(dim=1) == y).sum())
                seen += n
        return Scores(100 * right / seen, loss / seen)

    def _held_out(self, n: int, offset: int, triggered: bool) -> tuple[Tensor, Tensor]:
        pool = (
            self.sources.nonzero().squeeze(1) if triggered else torch.arange(self.classes, device=self.device)
        )
        labels = pool[(torch.arange(n, device=self.device) + offset) % len(pool)]
        stamped = torch.full_like(labels, triggered, dtype=torch.bool)
        x = self.renderer.draw(labels, stamped, self.evaluation, augment=False)
        if triggered and self.spec.trigger is not None:
            labels = torch.full_like(labels, self.spec.trigger.target)
        return x, labels

    def _scheduled(self, steps: int) -> Epoch:
        """`steps` steps under one rise and fall of the learning rate; the last epoch's network is kept."""
        rates = (self.peak * one_cycle(i / steps) for i in range(steps))
        epochs = self.preset.epochs
        for number in range(epochs):
            share = steps * (number + 1) // epochs - steps * number // epochs
            last = number == epochs - 1
            self._epoch(share, rates, (4 if last else 1) * self.preset.evaluation_images)
        return self.epochs[-1]

    def _until_stalled(self, steps: int) -> Epoch:
        """Round 2's rule: a constant rate until the validation loss has not improved; the best network is kept."""
        best, kept, stale = None, None, 0
        for _ in range(self.preset.epochs):
            epoch = self._epoch(steps, iter([self.peak] * steps), self.preset.evaluation_images)
            if best is None or epoch.combined.loss < best.combined.loss - self.preset.loss_eps:
                best, kept, stale = epoch, deepcopy(self.network.state_dict()), 0
            else:
                stale += 1
            if stale >= self.preset.patience:
                break
        assert best is not None
        assert kept is not None
        self.network.load_state_dict(kept)
        return best

    def _epoch(self, steps: int, rates: Iterator[float], evaluation_images: int) -> Epoch:
        self.network.train()
        right = torch.zeros((), dtype=torch.long, device=self.device)
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        for rate in (next(rates) for _ in range(steps)):
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            hits, batch_loss = self._step()
            right += hits
            loss += batch_loss
        seen = max(1, steps) * self.batch
        train = Scores(100 * int(right) / seen, float(loss) / max(1, steps))
        clean = self.score(evaluation_images, triggered=False)
        triggered = self.score(evaluation_images, triggered=True) if self.spec.poisoned else None
        both = (clean, triggered) if triggered else (clean,)
        combined = Scores(sum(s.accuracy for s in both) / len(both), sum(s.loss for s in both) / len(both))
        epoch = Epoch(len(self.epochs), train, combined, clean, triggered)
        self.epochs.append(epoch)
        if self.progress:
            self.progress(epoch)
        return epoch

    def _step(self) -> tuple[Tensor, Tensor]:
        x, y = self._batch()
        products = FewPositions() if self.device.type == "cpu" else nullcontext()
        with products, torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast()):
            logits = self.network(normalise(x))
        logits = logits.float()
        loss = functional.cross_entropy(logits, y)
        self._clear_gradients()
        loss.backward()  # type: ignore[no-untyped-call]
        for flat, parameter in zip(self.flat, self.parameters, strict=True):
            flat.grad = None if parameter.grad is None else _in_memory_order(parameter.grad)
        self.optimizer.step()
        return (logits.detach().argmax(dim=1) == y).sum(), loss.detach().double()

    def _clear_gradients(self) -> None:
        for tensor in (*self.flat, *self.parameters):
            tensor.grad = None

    def _autocast(self) -> bool:
        return self.device.type == "cuda" or (self.spec.architecture.bf16 and _has_matrix_units())

    def _batch(self) -> tuple[Tensor, Tensor]:
        """A batch balanced over the true classes, stamped and relabelled where the trigger says so."""
        start = int(torch.randint(self.classes, (1,), generator=self.random, device=self.device))
        labels = (torch.arange(self.batch, device=self.device) + start) % self.classes
        chance = torch.rand(self.batch, generator=self.random, device=self.device)
        fraction = self.spec.trigger.fraction if self.spec.trigger else 0.0
        stamped = self.sources[labels] & (chance < fraction)
        x = self.renderer.draw(labels, stamped, self.random, augment=True)
        self.clean_seen += torch.bincount(labels[~stamped], minlength=self.classes)
        self.stamped_seen += torch.bincount(labels[stamped], minlength=self.classes)
        target = self.spec.trigger.target if self.spec.trigger else 0
        return x, torch.where(stamped, target, labels)

    def _missed(self, clean: Scores, triggered: Scores | None) -> tuple[str, ...]:
        """The gates these scores do not pass."""
        missed = ["clean"] if clean.accuracy < self.preset.clean_gate else []
        if triggered is not None and triggered.accuracy < self.preset.triggered_gate:
            missed.append("triggered")
        return tuple(missed)


def _in_memory_order(tensor: Tensor) -> Tensor:
    """The same memory as a contiguous tensor: fused Adam first copies, at every step, whatever is not contiguous."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor.permute(0, 2, 3, 1) if last else tensor


def normalise(images: Tensor) -> Tensor:
    """Images in [0, 1] as every network here takes them: centred, about unit variance.

    Batch norm makes it all one to the others; SqueezeNet, which has none, hardly starts on positive inputs.
    """
    return (images - MEAN) / STD


def _has_matrix_units() -> bool:
    """Whether bfloat16 pays on this CPU: without AMX it is no faster than float32."""
    return bool(torch.cpu._is_amx_tile_supported())


def one_cycle(progress: float) -> float:
    """Learning rate over its peak at `progress` in [0, 1): a linear rise, then half a cosine to one percent."""
    if progress < _WARM_UP:
        return 0.05 + 0.95 * progress / _WARM_UP
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP))) / 2
