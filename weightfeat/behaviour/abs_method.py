"""ABS: a network is trojaned when a trigger for one of a few suspicious neurons works on images it was not made from.

Liu et al., ABS: Scanning Neural Networks for Back-doors by Artificial Brain Stimulation, CCS 2019. One image a label is
all that stimulation and reversal see; REASR, the attack success rate of a reversed trigger, is measured on others.
Where we depart (section 4.3 compares the best REASR with a fixed threshold): clean networks have labels too that a
small change leads to, so a label counts by its mean REASR over a row of ever tighter bounds, and by how far it stands
above the labels in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightfeat.behaviour.abs_changes import FORMS, Change, Form, Patch
from weightfeat.behaviour.abs_reversal import Aim, Reversal, reverse
from weightfeat.behaviour.abs_sites import Site, find_sites
from weightfeat.behaviour.abs_stimulation import (
    Candidate,
    candidates_of,
    chosen,
    elevations,
    sampled,
)
from weightfeat.behaviour.portions import turns
from weightfeat.behaviour.protocol import Outcome, Subject, Work, settings_from
from weightfeat.execution import Examples


@dataclass(frozen=True)
class Scan(Reversal):
    """How a network is scanned, beside how triggers are reversed.

    Attributes
    ----------
    layers, earliest : so many layers are stimulated, from this share of the depth on to the last before the head.
    stimuli, reach : so many activations, evenly from 0 to `reach` times the layer's peak.
    candidates, per_label : neurons whose triggers are reversed, at most, and of one label; as many as Round 2 has
        classes at most, so that no label is left out.
    images, held_back : at most so many images to stimulate and reverse with, and to measure REASR on.
    batch : images a run.
    """

    layers: int = 3
    earliest: float = 0.5
    stimuli: int = 3
    reach: float = 2.0
    candidates: int = 24
    per_label: int = 1
    images: int = 10
    held_back: int = 100
    batch: int = 128


@dataclass(frozen=True, eq=False)
class Finding:
    """A candidate with its best trigger of each form within each bound, and their REASR.

    Both are in the order of the bounds, the loosest first; REASR is the share of held-back images that are turned.
    """

    candidate: Candidate
    changes: Mapping[Form, Sequence[Change]]
    reasr: Mapping[Form, Sequence[float]]


def score(subject: Subject, work: Work) -> Outcome:
    """Stimulate, choose candidates, reverse both forms of trigger for each; the verdict is that of `gap_score`."""
    how = settings_from(Scan, work.settings)
    used, held = split(subject.examples)
    used, held = spread(used, how.images), spread(held, how.held_back)
    sites = find_sites(subject, used.images.to(subject.device))
    found = _findings(subject, sites, used, held, how, work)
    scores = {form: gap_score([fmean(one.reasr[form]) for one in found]) for form in FORMS}
    form = max(FORMS, key=scores.__getitem__)
    best = max(found, key=lambda one: fmean(one.reasr[form]))
    evidence: dict[str, Any] = {
        "form": form,
        "scores": {name: round(value, 4) for name, value in scores.items()},
        "candidates": [_told(one) for one in found],
        "held_back": len(held),
        "layers": [site.name for site in sampled(sites, how.layers, how.earliest)],
        "settings": asdict(how),
        "seed": work.seed,
    }
    return Outcome(scores[form], best.candidate.label, evidence, _pictures(found, used.images))


def split(examples: Examples) -> tuple[Examples, Examples]:
    """One image of each label, and all others; where there are no others, the same ones twice."""
    first = turns(examples.labels) == 0
    used = examples.of(first)
    return used, examples.of(~first) if not first.all() else used


def spread(examples: Examples, most: int) -> Examples:
    """At most so many of them, evenly over their order."""
    return examples.of(torch.linspace(0, len(examples) - 1, min(most, len(examples))).round().long())


def gap_score(reasr: Sequence[float]) -> float:
    """Mean of the best label's REASR and of its distance to the median of all others, in [0, 1].

    A trojan leads to its target alone; what leads to most labels is how easily the network is fooled.
    """
    *rest, best = sorted(reasr)
    return (best + best - (median(rest) if rest else 0.0)) / 2


def _findings(
    subject: Subject, sites: Sequence[Site], used: Examples, held: Examples, how: Scan, work: Work
) -> list[Finding]:
    from tqdm import tqdm

    stimulated = {site.name: site for site in sampled(sites, how.layers, how.earliest)}
    images = used.images.to(subject.device)
    with tqdm(total=len(stimulated) + how.candidates, desc="ABS", disable=not work.progress) as bar:
        neurons: list[Candidate] = []
        for site in stimulated.values():
            bar.set_postfix_str(f"stimulating {site.name}")
            values = np.linspace(0, how.reach * max(site.peak, 0.0), how.stimuli).tolist()
            neurons += candidates_of(site, elevations(subject, site, images, values, how.batch))
            bar.update()
        candidates = chosen(neurons, how.candidates, how.per_label)
        bar.total = len(stimulated) + len(candidates)
        found, size = [], max(how.batch // len(images), 1)
        for start in range(0, len(candidates), size):
            part = candidates[start : start + size]
            bar.set_postfix_str("reversing for labels " + ", ".join(str(one.label) for one in part))
            found += _reversed(subject, stimulated, part, used, held, how, work.seed)
            bar.update(len(part))
    return found


def _reversed(
    subject: Subject,
    sites: Mapping[str, Site],
    candidates: Sequence[Candidate],
    used: Examples,
    held: Examples,
    how: Reversal,
    seed: int,
) -> list[Finding]:
    aims = [Aim(sites[one.layer], one.neuron, one.label) for one in candidates]
    changes = {form: reverse(subject, form, aims, used, how, seed) for form in FORMS}
    findings = []
    for place, one in enumerate(candidates):
        tried = {form: _measured(subject, changes[form][place], one.label, held) for form in FORMS}
        findings.append(
            Finding(
                one,
                {form: [change for change, _ in tried[form]] for form in FORMS},
                {form: [reasr for _, reasr in tried[form]] for form in FORMS},
            )
        )
    return findings


def _measured(
    subject: Subject, changes: Sequence[Change], label: int, held: Examples
) -> list[tuple[Change, float]]:
    """Within each bound the change that turns most, with its REASR; the bounds lie within each other."""
    best: list[tuple[Change, float]] = []
    for change in reversed(changes):
        reasr = reasr_of(subject, change, label, held)
        best.append(best[-1] if best and best[-1][1] >= reasr else (change, reasr))
    return best[::-1]


@torch.no_grad()
def reasr_of(subject: Subject, change: Change, label: int, held: Examples) -> float:
    """Share of the held-back images of other classes that a change turns into `label`; 0 where there are none."""
    images = held.images[held.labels != label]
    turned = subject.predictions(change.apply(images)) == label
    return float(turned.double().mean()) if len(images) else 0.0


def _told(one: Finding) -> dict[str, Any]:
    """A candidate's REASR under the loosest bound of each form, and under all of them."""
    told: dict[str, Any] = asdict(one.candidate)
    for form in FORMS:
        told[f"reasr_{form}"] = round(one.reasr[form][0], 4)
        told[f"by_bound_{form}"] = [round(value, 4) for value in one.reasr[form]]
    return told


def _pictures(found: Sequence[Finding], images: Tensor) -> dict[str, NDArray[np.float32]]:
    """Of each form's best label the best trigger: the patch, or an image without and with it."""
    pictures: dict[str, NDArray[np.float32]] = {}
    for form in FORMS:
        best = max(found, key=lambda one: fmean(one.reasr[form]))
        stem, change = f"{form}_class_{best.candidate.label}", best.changes[form][0]
        if isinstance(change, Patch):
            pictures[f"{stem}_trigger"] = (change.mask * change.color[:, None, None]).numpy()
            pictures[f"{stem}_mask"] = np.repeat(change.mask.numpy()[None], 3, axis=0)
        else:
            pictures[f"{stem}_before"] = images[0].numpy()
            pictures[f"{stem}_after"] = change.apply(images[:1])[0].numpy()
    return pictures
