"""Neural Cleanse: a class that far less of a trigger leads to than to the others is the target of a trojan.

Wang et al., IEEE S&P 2019. A class is flagged when the norm of its reversed trigger is an outlier on the small side:
more than two normal-consistent median absolute deviations below the median of all classes (section IV.C).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.behaviour.protocol import Outcome, Subject, Work, settings_from
from weightfeat.behaviour.reversal import Reversal, Reversed, reverse
from weightfeat.behaviour.states import load_reversed, save_reversed
from weightfeat.behaviour.triggers import Trigger

NORMAL_CONSISTENCY = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""

OUTLIER = 2.0
"""Anomaly index above which a class is flagged; 95 % of a normal distribution lie below."""


@dataclass(frozen=True)
class Verdict:
    """What the norms say: an anomaly index a class, and the flagged classes, the smallest norm first."""

    indices: tuple[float, ...]
    flagged: tuple[int, ...]
    score: float


def score(subject: Subject, work: Work) -> Outcome:
    """Reverse a trigger for every class and look for an outlier.

    The score is index / (index + 2) of the most anomalous class on the small side: a half where a class is flagged.
    With `work.output`, finished classes are kept there and not done again.
    """
    how = settings_from(Reversal, work.settings)
    found = reverse_all(subject, work, how)
    norms = [one.trigger.norm for one in found]
    verdict = judge(norms, [one.worked for one in found])
    target = verdict.flagged[0] if verdict.flagged else None
    shown = verdict.flagged or (int(np.argmin(norms)),)
    evidence = {
        "flagged": list(verdict.flagged),
        "anomaly_indices": [round(index, 4) for index in verdict.indices],
        "mask_norms": [round(norm, 2) for norm in norms],
        "attack_success": [round(one.success, 4) for one in found],
        "worked": [one.worked for one in found],
        "rounds": [one.rounds for one in found],
        "settings": asdict(how),
        "seed": work.seed,
    }
    return Outcome(verdict.score, target, evidence, pictures([found[label].trigger for label in shown]))


def reverse_all(subject: Subject, work: Work, how: Reversal) -> list[Reversed]:
    """A reversed trigger for every class, in order; those already in `work.output` are read back."""
    from tqdm import tqdm

    found = []
    total = subject.num_classes * how.rounds
    with tqdm(total=total, desc="reversing triggers", unit="round", disable=not work.progress) as bar:
        for target in range(subject.num_classes):
            bar.set_postfix_str(f"class {target} of {subject.num_classes}")
            done = reverse_one(subject, target, work, how, bar.update)
            bar.update((target + 1) * how.rounds - bar.n)
            found.append(done)
    return found


def reverse_one(
    subject: Subject, target: int, work: Work, how: Reversal, on_round: Callable[[], object] | None = None
) -> Reversed:
    """One class's trigger, from `work.output` where it was reversed before under the same settings and network."""
    key = state_key(work, how)
    known = None if work.output is None else load_reversed(work.output, target, key)
    if known is not None:
        return known
    made = reverse(subject, target, how, work.seed, on_round)
    if work.output is not None:
        save_reversed(work.output, made, key)
    return made


def state_key(work: Work, how: Reversal) -> str:
    """What must be the same for a finished class to be taken up again."""
    return json.dumps({"subject": work.key, "seed": work.seed, **asdict(how)}, sort_keys=True)


def judge(norms: Sequence[float], worked: Sequence[bool]) -> Verdict:
    """Anomaly indices and flagged classes; a class whose attack never worked has no small trigger to be flagged for.

    A vanishing spread (all norms alike) flags nothing.
    """
    values = np.asarray(norms, dtype=np.float64)
    median = np.median(values)
    deviation = NORMAL_CONSISTENCY * np.median(np.abs(values - median))
    indices = np.abs(values - median) / max(deviation, 1e-9 * median, np.finfo(np.float64).tiny)
    small = (values < median) & np.asarray(worked, dtype=bool)
    flagged = [
        int(label) for label in np.argsort(values, kind="stable") if small[label] and indices[label] > OUTLIER
    ]
    largest = float(indices[small].max(initial=0.0))
    return Verdict(tuple(indices.tolist()), tuple(flagged), largest / (largest + OUTLIER))


def pictures(triggers: Sequence[Trigger]) -> Mapping[str, NDArray[np.float32]]:
    """What each trigger lays over an image, on black, and its mask in grey: (3, h, w) in [0, 1]."""
    images: dict[str, NDArray[np.float32]] = {}
    for trigger in triggers:
        images[f"trigger_class_{trigger.target}"] = (trigger.mask * trigger.pattern).numpy()
        images[f"mask_class_{trigger.target}"] = np.repeat(trigger.mask.numpy()[None], 3, axis=0)
    return images
