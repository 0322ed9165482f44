"""The smallest trigger that turns everything into one class: the optimisation behind Neural Cleanse.

Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao: Neural Cleanse, IEEE S&P 2019, section IV: equations 2 and 3, and the
schedule of the cost that the authors' program adds to them. Where we depart: success is judged over rounds of a few
mini-batches, not over passes through a test set (there are a few hundred images), and on images of other
classes than the target only, since the target's own say nothing about a trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from weightfeat.behaviour.portions import shuffled
from weightfeat.behaviour.protocol import Subject
from weightfeat.behaviour.triggers import Trigger, attack_success

_EDGE = 1e-4  # a start nearer to 0 or 1 than this would lie where tanh is flat


@dataclass(frozen=True)
class Reversal:
    """How a trigger is searched for.

    Attributes
    ----------
    rounds, round_batches, batch : at most so many rounds of so many mini-batches of so many images.
    learning_rate : of Adam, betas (0.5, 0.9), on the arguments of tanh.
    initial_cost : the first weight λ of the mask's norm that is not 0.
    success : the share of images turned to the target that counts as an attack that works.
    patience : rounds in a row above (below) it before λ is multiplied by `raise_by` (divided by `lower_by`).
    stop_patience : rounds without a mask at least `stop_gain` smaller before the search ends, once λ has
        moved both ways.
    """

    rounds: int = 60
    round_batches: int = 4
    batch: int = 32
    learning_rate: float = 0.1
    initial_cost: float = 1e-3
    success: float = 0.99
    patience: int = 3
    raise_by: float = 2.0
    lower_by: float = 2.0**1.5
    stop_patience: int = 10
    stop_gain: float = 0.01


@dataclass(frozen=True)
class CostSchedule:
    """The weight λ of the mask's norm: 0 until the attack works, then raised while it works and lowered while not.

    `above` and `below` count rounds in a row; `raised` and `lowered` say whether λ ever moved that way.
    """

    cost: float = 0.0
    above: int = 0
    below: int = 0
    raised: bool = False
    lowered: bool = False

    def after(self, works: bool, how: Reversal) -> CostSchedule:
        """The schedule after a round in which the attack worked, or did not."""
        above, below = (self.above + 1, 0) if works else (0, self.below + 1)
        if above >= how.patience:
            if self.cost == 0:
                return CostSchedule(how.initial_cost)
            return replace(self, cost=self.cost * how.raise_by, above=0, below=0, raised=True)
        if below >= how.patience and self.cost > 0:
            return replace(self, cost=self.cost / how.lower_by, above=0, below=0, lowered=True)
        return replace(self, above=above, below=below)


@dataclass(frozen=True, eq=False)
class Reversed:
    """A reversed trigger.

    Attributes
    ----------
    success : share of the examples of other classes that it turns into its target, measured at the end.
    worked : whether the asked success was ever reached; where not, the trigger is the last one tried.
    """

    trigger: Trigger
    success: float
    worked: bool
    rounds: int


def reverse(
    subject: Subject,
    target: int,
    how: Reversal,
    seed: int = 0,
    on_round: Callable[[], object] | None = None,
) -> Reversed:
    """Minimise ℓ(target, f(A(x, m, Δ))) + λ |m| over masks m and patterns Δ (equation 3), both (tanh + 1) / 2.

    The result depends on the subject, the target, `how` and `seed` only, so that classes may be done in any order.
    """
    random = torch.Generator().manual_seed(1_000_003 * seed + target)
    others = subject.examples.images[subject.examples.labels != target]
    if not len(others):
        others = subject.examples.images
    batches = (others[chosen] for chosen in shuffled(len(others), how.batch, random))
    arguments = [_start((1, *others.shape[2:]), random), _start(tuple(others.shape[1:]), random)]
    arguments = [argument.to(subject.device).requires_grad_() for argument in arguments]
    optimizer = torch.optim.Adam(arguments, lr=how.learning_rate, betas=(0.5, 0.9))
    schedule, best, stale, rounds = CostSchedule(), None, 0, 0
    while rounds < how.rounds:
        rounds += 1
        worked = [
            _step(subject, target, next(batches), arguments, optimizer, schedule.cost)
            for _ in range(how.round_batches)
        ]
        works = float(torch.cat(worked).double().mean()) >= how.success
        candidate = _trigger(target, arguments)
        if on_round is not None:
            on_round()
        smaller = best is None or candidate.norm < (1 - how.stop_gain) * best.norm
        if works and (best is None or candidate.norm < best.norm):
            best = candidate
        stale = 0 if works and smaller else stale + 1
        schedule = schedule.after(works, how)
        if schedule.raised and schedule.lowered and stale >= how.stop_patience:
            break
    kept = best or _trigger(target, arguments)
    return Reversed(kept, attack_success(subject, kept), best is not None, rounds)


def _step(
    subject: Subject,
    target: int,
    images: Tensor,
    arguments: list[Tensor],
    optimizer: torch.optim.Optimizer,
    cost: float,
) -> Tensor:
    """One step of Adam; which images of the batch were turned to the target before it, bool (n,)."""
    mask, pattern = (_squashed(argument) for argument in arguments)
    images = images.to(subject.device).contiguous(memory_format=torch.channels_last)
    logits = subject.logits((1 - mask) * images + mask * pattern)
    wanted = torch.full((len(images),), target, device=subject.device)
    loss = functional.cross_entropy(logits, wanted) + cost * mask.sum()
    gradients = torch.autograd.grad(loss, arguments)
    for argument, gradient in zip(arguments, gradients, strict=True):
        argument.grad = gradient
    optimizer.step()
    return (logits.detach().argmax(dim=1) == target).cpu()


def _start(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """The argument of tanh that gives values drawn evenly from [0, 1]."""
    return torch.atanh(2 * torch.rand(shape, generator=random).clamp(_EDGE, 1 - _EDGE) - 1)


def _squashed(argument: Tensor) -> Tensor:
    return (torch.tanh(argument) + 1) / 2


def _trigger(target: int, arguments: list[Tensor]) -> Trigger:
    mask, pattern = (_squashed(argument.detach()).cpu() for argument in arguments)
    return Trigger(target, mask[0], pattern)
