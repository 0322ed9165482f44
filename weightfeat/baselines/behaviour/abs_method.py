"""ABS: a network is trojaned when a trigger for one of a few suspicious neurons works on images it was not made from.

Liu et al., ABS: Scanning Neural Networks for Back-doors by Artificial Brain Stimulation, CCS 2019. One image a label is
all that stimulation and reversal see; REASR, the attack success rate of a reversed trigger, is measured on the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightfeat.baselines.behaviour.abs_reversal import (
    Change,
    Filter,
    Form,
    Patch,
    Reversal,
    reverse_filter,
    reverse_patch,
)
from weightfeat.baselines.behaviour.abs_sites import Site, find_sites
from weightfeat.baselines.behaviour.abs_stimulation import (
    Candidate,
    candidates_of,
    chosen,
    elevations,
    sampled,
)
from weightfeat.baselines.behaviour.protocol import Outcome, Subject, Work, settings_from
from weightfeat.execution import Examples

FORMS: tuple[Form, ...] = ("pixel", "filter")


@dataclass(frozen=True)
class Scan(Reversal):
    """How a network is scanned, beside how triggers are reversed.

    Attributes
    ----------
    layers, earliest : so many layers are stimulated, from this share of the depth on to the last before the head.
    stimuli, reach : so many activations, evenly from 0 to `reach` times the layer's peak.
    candidates, per_label : neurons whose triggers are reversed, at most, and of one label.
    batch : images a run of the stimulation.
    """

    layers: int = 6
    earliest: float = 0.5
    stimuli: int = 3
    reach: float = 2.0
    candidates: int = 10
    per_label: int = 3
    batch: int = 128


@dataclass(frozen=True, eq=False)
class Finding:
    """A candidate with a reversed trigger a form and its REASR, the share of held-back images it turns."""

    candidate: Candidate
    changes: Mapping[Form, Change]
    reasr: Mapping[Form, float]


def score(subject: Subject, work: Work) -> Outcome:
    """Stimulate, choose candidates, reverse both forms of trigger for each; the verdict is that of `gap_score`."""
    how = settings_from(Scan, work.settings)
    used, held = split(subject.examples)
    images = used.images.to(subject.device)
    sites = find_sites(subject, images)
    found = _findings(subject, sites, images, held, how, work)
    scores = {form: gap_score([(one.candidate.label, one.reasr[form]) for one in found]) for form in FORMS}
    form = max(FORMS, key=scores.__getitem__)
    best = max(found, key=lambda one: one.reasr[form])
    evidence: dict[str, Any] = {
        "form": form,
        "scores": {name: round(value, 4) for name, value in scores.items()},
        "candidates": [_told(one) for one in found],
        "held_back": len(held),
        "layers": [site.name for site in sampled(sites, how.layers, how.earliest)],
        "settings": asdict(how),
        "seed": work.seed,
    }
    return Outcome(scores[form], best.candidate.label, evidence, _pictures(found, images))


def split(examples: Examples) -> tuple[Examples, Examples]:
    """One image of each label, and all others; where there are no others, the same ones twice."""
    first = torch.zeros(len(examples), dtype=torch.bool)
    for label in set(examples.labels.tolist()):
        first[(examples.labels == label).nonzero()[0]] = True
    used = examples.of(first)
    return used, examples.of(~first) if not first.all() else used


def gap_score(reasr: Sequence[tuple[int, float]]) -> float:
    """Mean of the best (label, REASR) and of its distance to the best of any other label, in [0, 1].

    A trojan leads to its target alone; what leads to every label is how easily the network is fooled.
    """
    label, best = max(reasr, key=lambda item: item[1])
    rest = max((value for other, value in reasr if other != label), default=0.0)
    return (best + best - rest) / 2


def _findings(
    subject: Subject, sites: Sequence[Site], images: Tensor, held: Examples, how: Scan, work: Work
) -> list[Finding]:
    from tqdm import tqdm

    stimulated = sampled(sites, how.layers, how.earliest)
    with tqdm(total=len(stimulated) + how.candidates, desc="ABS", disable=not work.progress) as bar:
        all_neurons: list[Candidate] = []
        for site in stimulated:
            bar.set_postfix_str(f"stimulating {site.name}")
            values = np.linspace(0, how.reach * max(site.peak, 0.0), how.stimuli).tolist()
            all_neurons += candidates_of(site, elevations(subject, site, images, values, how.batch))
            bar.update()
        found = []
        named = {site.name: site for site in stimulated}
        for candidate in chosen(all_neurons, how.candidates, how.per_label):
            bar.set_postfix_str(f"reversing {candidate.layer} {candidate.neuron} to {candidate.label}")
            found.append(_reversed(subject, named[candidate.layer], candidate, images, held, how, work.seed))
            bar.update()
    return found


def _reversed(
    subject: Subject, site: Site, one: Candidate, images: Tensor, held: Examples, how: Reversal, seed: int
) -> Finding:
    changes: dict[Form, Change] = {
        "pixel": reverse_patch(subject, site, one.neuron, one.label, images, how, seed),
        "filter": reverse_filter(subject, site, one.neuron, one.label, images, how, seed),
    }
    return Finding(
        one, changes, {form: reasr_of(subject, change, one.label, held) for form, change in changes.items()}
    )


@torch.no_grad()
def reasr_of(subject: Subject, change: Change, label: int, held: Examples) -> float:
    """Share of the held-back images of other classes that a change turns into `label`; 0 where there are none."""
    images = held.images[held.labels != label]
    turned = subject.predictions(change.apply(images)) == label
    return float(turned.double().mean()) if len(images) else 0.0


def _told(one: Finding) -> dict[str, Any]:
    return {
        **asdict(one.candidate),
        **{f"reasr_{form}": round(value, 4) for form, value in one.reasr.items()},
    }


def _pictures(found: Sequence[Finding], images: Tensor) -> dict[str, NDArray[np.float32]]:
    """Of each form the trigger that works best: the patch and its mask, and an image before and after the filter."""
    pictures: dict[str, NDArray[np.float32]] = {}
    for form in FORMS:
        best = max(found, key=lambda one: one.reasr[form])
        stem, change = f"{form}_class_{best.candidate.label}", best.changes[form]
        if isinstance(change, Patch):
            pictures[f"{stem}_trigger"] = (change.mask * change.pattern).numpy()
            pictures[f"{stem}_mask"] = np.repeat(change.mask.numpy()[None], 3, axis=0)
        elif isinstance(change, Filter):
            pictures[f"{stem}_before"] = images[0].cpu().numpy()
            pictures[f"{stem}_after"] = change.apply(images[:1])[0].cpu().numpy()
    return pictures
