"""STRIP: an input whose predicted class survives other images laid over it carries a trigger.

Gao, Xu, Wang, Chen, Ranasinghe, Nepal: STRIP, ACSAC 2019. It judges inputs, not networks: the entropy of the
predictions for an input under N superimposed clean images (equations 2 to 4) against a threshold that a chosen share of
clean inputs falls below (their false rejections). Where we depart: the two images are averaged, so that they stay in
[0, 1], where the paper adds them; and the threshold is the quantile of the clean entropies themselves, where the
paper takes that of a normal distribution fitted to them, which may lie below 0 and refuse nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from weightfeat.baselines.behaviour.protocol import Outcome, Subject, Work, settings_from
from weightfeat.baselines.behaviour.triggers import share
from weightfeat.execution import Examples, read_examples

_TAIL = 0.05  # the share of clean entropies that the model-level score without stamped images looks at
_BATCH = 128


@dataclass(frozen=True)
class Strip:
    """How inputs are judged.

    Attributes
    ----------
    overlays : N, clean images laid over each input. The paper uses 100 and finds little change from 10 on.
    weight : of the input in the blend; the overlay's is the rest.
    frr : false rejection rate the threshold is set for.
    clean : at most so many examples give the clean entropies.
    stamped : folder of images with the trigger on them, named as examples are, for a false acceptance rate.
    """

    overlays: int = 20
    weight: float = 0.5
    frr: float = 0.01
    clean: int = 200
    stamped: Path | None = None


def score(subject: Subject, work: Work) -> Outcome:
    """Entropies of the clean examples, a threshold, and what it says of stamped images where there are any.

    With stamped images, the score is the share of them judged trojaned, 1 - FAR. Without, there is nothing in hand that
    STRIP was made to see, and the score is a makeshift: how far the lowest entropies of clean images lie below their
    median, from 0 (not at all) to 1 (at 0). Do not read it as STRIP's accuracy.
    """
    how = settings_from(Strip, work.settings)
    chosen = evenly(subject.examples, how.clean)
    clean = entropies(subject, chosen.images, how, work.seed, counter(work, "clean images"))
    threshold = threshold_at(clean, how.frr)
    evidence = {
        "threshold": round(threshold, 5),
        "frr": round(share(clean < threshold), 5),
        "clean_entropy_median": round(float(clean.median()), 5),
        "clean_entropies": [round(value, 5) for value in clean.tolist()],
        "settings": {name: str(v) if isinstance(v, Path) else v for name, v in asdict(how).items()},
        "seed": work.seed,
    }
    if how.stamped is None:
        return Outcome(_tail(clean), None, evidence)
    stamped = read_examples(how.stamped, subject.num_classes).images
    judged = entropies(subject, stamped, how, work.seed, counter(work, "stamped images"))
    far = share(judged >= threshold)
    evidence |= {"far": round(far, 5), "stamped_entropies": [round(value, 5) for value in judged.tolist()]}
    target = int(subject.predictions(stamped).mode().values)
    return Outcome(1 - far, target if far < 0.5 else None, evidence)


@torch.no_grad()
def entropies(
    subject: Subject, images: Tensor, how: Strip, seed: int = 0, on_image: Callable[[], object] | None = None
) -> Tensor:
    """H (equations 2 to 4) of each image: mean entropy, in bits, of the predictions under `overlays` examples; (n,).

    The overlays are the same for an image whatever it is judged with: they are drawn from the seed alone.
    """
    others = subject.examples.images
    random = torch.Generator().manual_seed(seed)
    laid_over = others[torch.randperm(len(others), generator=random)[: how.overlays]]
    values = []
    for image in images:
        blends = how.weight * image + (1 - how.weight) * laid_over
        parts = [
            torch.log_softmax(subject.logits(part.to(subject.device)).double(), dim=1).cpu()
            for part in torch.split(blends, _BATCH)
        ]
        logarithms = torch.cat(parts)
        values.append(-(logarithms.exp() * logarithms).sum(dim=1).mean() / torch.log(torch.tensor(2.0)))
        if on_image is not None:
            on_image()
    return torch.stack(values) if values else torch.empty(0, dtype=torch.float64)


def threshold_at(clean: Tensor, frr: float) -> float:
    """The entropy that a share `frr` of clean inputs falls below."""
    return float(torch.quantile(clean, frr))


def evenly(examples: Examples, count: int) -> Examples:
    """At most `count` examples, every class as often as the others, one class after the other in turns."""
    order = torch.argsort(_turn(examples.labels), stable=True)
    return examples.of(order[:count])


def counter(work: Work, what: str) -> Callable[[], object] | None:
    """A progress bar's step, where progress is shown."""
    if not work.progress:
        return None
    from tqdm import tqdm

    return tqdm(desc=what, unit="image").update


def _turn(labels: Tensor) -> Tensor:
    """How many images of its class come before each."""
    same = labels[:, None] == labels[None, :]
    return same.tril(-1).sum(dim=1)


def _tail(clean: Tensor) -> float:
    median = float(clean.median())
    low = float(torch.quantile(clean, _TAIL))
    return 0.0 if median <= 0 else 1 - max(low, 0.0) / median
