"""Stimulation analysis: which neurons, excited alone, lift one label on whatever image.

Liu et al., ABS, CCS 2019. Section 4.1: a neuron's stimulation function is the network's output as its activation runs
over a range while all others of its layer stay as the image makes them. Section 4.2: a neuron is a candidate when
one label rises far above the others on the images of all labels. Where we depart, as the authors' later programs
do: the range ends at a multiple of the layer's largest activation, a neuron's lift is the mean over the images that
agree on its label, and every label has its candidate. The paper's ten largest lifts would miss targets: on the
all-to-one trojaned networks we looked at, the best neuron of the target came behind those of most other labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightfeat.behaviour.abs_sites import Site, frozen_before
from weightfeat.behaviour.protocol import Subject

_AGREEMENT = 0.6


@dataclass(frozen=True)
class Candidate:
    """A neuron that may be compromised.

    `lift` is how much further its label's logit rises than any other's, `agreement` the share of images on which
    that label rises most.
    """

    layer: str
    neuron: int
    label: int
    lift: float
    agreement: float


def sampled(sites: Sequence[Site], layers: int, earliest: float) -> list[Site]:
    """`layers` of the places, evenly spread from the share `earliest` of the depth to the last."""
    places = np.linspace(earliest * (len(sites) - 1), len(sites) - 1, min(layers, len(sites)))
    return [sites[place] for place in sorted({round(float(place)) for place in places})]


@torch.no_grad()
def elevations(
    subject: Subject, site: Site, images: Tensor, values: Sequence[float], batch: int
) -> NDArray[np.float32]:
    """How far each logit rises above that of the silenced neuron, at most, over the stimuli: (channels, n, classes).

    Parameters
    ----------
    images : (n, 3, h, w) in [0, 1] on the subject's device.
    values : stimuli, the first of which is what the others are compared with.
    batch : images a run, at most (and one stimulus of one neuron at least).
    """
    stimuli = [(channel, value) for channel in range(site.channels) for value in values]
    rows = []
    with frozen_before(subject, site, images) as run:
        for part in _parts(stimuli, max(batch // len(images), 1)):
            handle = site.module.register_forward_hook(_stimulate(part))
            try:
                rows.append(run(len(part)).view(len(part), len(images), -1).cpu())
            finally:
                handle.remove()
    logits = torch.cat(rows).view(site.channels, len(values), len(images), -1)
    risen: NDArray[np.float32] = (logits[:, 1:].amax(dim=1) - logits[:, 0]).numpy()
    return risen


def candidates_of(site: Site, risen: NDArray[np.float32]) -> Iterator[Candidate]:
    """Every neuron of a place with the label it lifts most often."""
    for neuron, lifted in enumerate(risen):
        ordered = np.sort(lifted, axis=1)
        gaps, labels = ordered[:, -1] - ordered[:, -2], lifted.argmax(axis=1)
        label, votes = Counter(labels.tolist()).most_common(1)[0]
        lift = float(gaps[labels == label].mean())
        yield Candidate(site.name, neuron, int(label), lift, votes / len(labels))


def chosen(found: Sequence[Candidate], count: int, per_label: int) -> list[Candidate]:
    """The `count` neurons that lift their label most, at most `per_label` of a label.

    Neurons on whose label most images agree come before all others.
    """
    ordered = sorted(found, key=lambda one: (one.agreement < _AGREEMENT, -one.lift, one.layer, one.neuron))
    taken: Counter[int] = Counter()
    kept: list[Candidate] = []
    for one in ordered:
        if taken[one.label] < per_label and len(kept) < count:
            taken[one.label] += 1
            kept.append(one)
    return kept


def _parts(stimuli: Sequence[tuple[int, float]], size: int) -> Iterator[Sequence[tuple[int, float]]]:
    for start in range(0, len(stimuli), size):
        yield stimuli[start : start + size]


def _stimulate(part: Sequence[tuple[int, float]]) -> Callable[..., Tensor]:
    """A hook that sets, in each repeat of the images, one channel to one value everywhere."""

    def hook(module: object, given: object, output: Tensor) -> Tensor:
        stimulated = output.clone().view(len(part), -1, *output.shape[1:])
        for repeat, (channel, value) in enumerate(part):
            stimulated[repeat, :, channel] = value
        return stimulated.view_as(output)

    return hook
