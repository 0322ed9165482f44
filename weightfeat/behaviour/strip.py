"""STRIP: an input whose predicted class survives other images laid over it carries a trigger.

Gao, Xu, Wang, Chen, Ranasinghe, Nepal: STRIP, ACSAC 2019. It judges inputs, not networks: how unsure the predictions
for an input are under N superimposed clean images, against a threshold that a chosen share of clean inputs falls
below (their false rejections). Where we depart:

- The entropy (equation 2) is that of the N predictions' mean, where equations 3 and 4 take the mean of their entropies:
  a network sure of every overlay's own class has a low mean entropy though nothing of the input survives.
- The images are blended by a weight at which a chosen share of clean predictions survives; the paper adds them.
- The threshold is the quantile of the clean entropies themselves, where the paper takes that of a normal distribution
  fitted to them, which may lie below 0 and refuse nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from weightfeat.behaviour.portions import turns
from weightfeat.behaviour.protocol import Outcome, Subject, Work, settings_from
from weightfeat.behaviour.triggers import share
from weightfeat.execution import Examples, read_examples

_TAIL = 0.05  # the share of clean entropies that the model-level score without stamped images looks at
_BATCH = 128
_HALVINGS = 6  # of the interval that a weight is searched in
_TRIED = 40  # clean images the weight is chosen with


@dataclass(frozen=True)
class Strip:
    """How inputs are judged.

    Attributes
    ----------
    overlays : N, clean images laid over each input. The paper uses 100 and finds little change from 10 on.
    survival : share of the predictions for clean images that is to be the same under an overlay as without.
    frr : false rejection rate the threshold is set for.
    clean : at most so many examples give the clean entropies.
    stamped : folder of images with the trigger on them, named as examples are, for a false acceptance rate.
    """

    overlays: int = 20
    survival: float = 0.5
    frr: float = 0.01
    clean: int = 200
    stamped: Path | None = None


@dataclass(frozen=True, eq=False)
class Blend:
    """What is laid over inputs, (N, 3, h, w), and the input's weight; the overlay's is the rest."""

    laid_over: Tensor
    weight: float


def score(subject: Subject, work: Work) -> Outcome:
    """Entropies of the clean examples, a threshold, and what it says of stamped images where there are any.

    With stamped images, the score is the share of them judged trojaned, 1 - FAR. Without, there is nothing in hand that
    STRIP was made to see, and the score is a makeshift: how far the lowest entropies of clean images lie below their
    median, from 0 (not at all) to 1 (at 0). Do not read it as STRIP's accuracy.
    """
    how = settings_from(Strip, work.settings)
    chosen = evenly(subject.examples, how.clean)
    blend = blend_of(subject, how, work.seed)
    clean = entropies(subject, chosen.images, blend, counter(work, "clean images"))
    threshold = threshold_at(clean, how.frr)
    evidence = {
        "weight": blend.weight,
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
    judged = entropies(subject, stamped, blend, counter(work, "stamped images"))
    far = share(judged >= threshold)
    evidence |= {"far": round(far, 5), "stamped_entropies": [round(value, 5) for value in judged.tolist()]}
    target = int(subject.predictions(stamped).mode().values)
    return Outcome(1 - far, target if far < 0.5 else None, evidence)


def blend_of(subject: Subject, how: Strip, seed: int = 0) -> Blend:
    """Overlays drawn from the examples by the seed alone, and the least weight at which enough predictions survive."""
    others, random = subject.examples.images, torch.Generator().manual_seed(seed)
    laid_over = others[torch.randperm(len(others), generator=random)[: how.overlays]]
    tried = evenly(subject.examples, _TRIED).images
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = survival(subject, tried, Blend(laid_over, middle)) >= how.survival
        low, high = (low, middle) if enough else (middle, high)
    return Blend(laid_over, high)


def survival(subject: Subject, images: Tensor, blend: Blend) -> float:
    """Share of the images' overlays under which the image's predicted class stays the same."""
    alone = subject.predictions(images)
    under = [_predicted(subject, image, blend).argmax(dim=1) for image in images]
    return share(torch.stack(under) == alone[:, None])


def entropies(
    subject: Subject, images: Tensor, blend: Blend, on_image: Callable[[], object] | None = None
) -> Tensor:
    """Entropy in bits (equation 2) of the mean prediction for each image under the overlays; (n,)."""
    values = []
    for image in images:
        mean = _predicted(subject, image, blend).mean(dim=0)
        values.append(-torch.xlogy(mean, mean).sum() / math.log(2))
        if on_image is not None:
            on_image()
    return torch.stack(values) if values else torch.empty(0, dtype=torch.float64)


def threshold_at(clean: Tensor, frr: float) -> float:
    """The entropy that a share `frr` of clean inputs falls below."""
    return float(torch.quantile(clean, frr))


def evenly(examples: Examples, count: int) -> Examples:
    """At most `count` examples, every class as often as the others, one class after the other in turns."""
    order = torch.argsort(turns(examples.labels), stable=True)
    return examples.of(order[:count])


def counter(work: Work, what: str) -> Callable[[], object] | None:
    """A progress bar's step, where progress is shown."""
    if not work.progress:
        return None
    from tqdm import tqdm

    return tqdm(desc=what, unit="image").update


@torch.no_grad()
def _predicted(subject: Subject, image: Tensor, blend: Blend) -> Tensor:
    """Class probabilities under every overlay: float64 (N, num_classes)."""
    blends = blend.weight * image + (1 - blend.weight) * blend.laid_over
    parts = [
        subject.logits(part.to(subject.device)).double().softmax(dim=1).cpu()
        for part in torch.split(blends, _BATCH)
    ]
    return torch.cat(parts)


def _tail(clean: Tensor) -> float:
    median = float(clean.median())
    low = float(torch.quantile(clean, _TAIL))
    return 0.0 if median <= 0 else 1 - max(low, 0.0) / median
