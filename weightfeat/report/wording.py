"""What a verdict means and what to do next, in sentences for the person who must decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from weightfeat.detector import Verdict
from weightfeat.detector.words import Word
from weightfeat.report.evidence import Evidence
from weightfeat.report.rules import of_word

__all__ = ["INTERVAL", "LIMITS", "STANDING", "compared", "meaning", "next_steps", "record", "share"]

LIMITS = (
    "The verdict comes from the weights alone. No image was shown to the network and nothing in the file was run.",
    "No word says that a network is safe. Trojans that attack one class only, and ways of training that the detector "
    "has not seen, are often missed.",
    "Pruning, and training that differs from that of the reference networks, can make a clean network look trojaned.",
)
INTERVAL = (
    "The interval is how far the probability moves with the networks that the detector happened to learn from, and "
    "with what is not known about how this one was trained. A wide one means: do not lean on the number."
)
STANDING = {
    "mean": "mean weight of the class in the last layer",
    "positive_sum": "weights that speak for the class, added up",
    "evidence": "support from features as they usually occur",
    "share.half_normal": "share of random inputs that the class wins",
    "share.law": "share of typical random features that it wins",
    "share.through": "share of random inputs one layer earlier that it wins",
    "logit.half_normal": "mean score on random inputs",
    "logit.law": "mean score on typical random features",
    "logit.through": "mean score on random inputs one layer earlier",
    "margin.through": "lead with which it wins one layer earlier",
}
"""What the detector's statistics of a class are called where a person reads them."""

_NEXT: dict[Word, tuple[str, ...]] = {
    "trojaned": (
        "Do not put the network to use. Ask its source how it was trained, or take one from a source you trust.",
        "If you have clean images of its classes, run `weightfeat baseline` on it for a second opinion by other means.",
        "If you must keep it, `weightfeat repair` can take the trigger's effect out; scan the result again.",
        "If you have looked and answer for it, accept it by its sha256 in .weightfeat.toml, with a reason and a date.",
    ),
    "suspicious": (
        "Look closer before you rely on it. Up to one in five clean networks gets this word or a louder one.",
        "If you have clean images of its classes, run `weightfeat baseline` on it for a second opinion by other means.",
        "Compare its sha256 with the one that its source published.",
    ),
    "no sign found": (
        "Nothing needs doing for this alone. See how many trojaned networks of its kind got this word too.",
        "Where much depends on the network, run `weightfeat baseline` on clean images of its classes as well.",
    ),
    "cannot tell": (
        "Do not read this as a pass: nothing is known of networks of its kind.",
        "If you have networks of its kind that are known to be clean and trojaned, learn from them: "
        "`weightfeat configure`.",
        "If you have clean images of its classes, run `weightfeat baseline` on it.",
    ),
}


def meaning(verdict: Verdict) -> str:
    """What the word says."""
    return of_word(verdict.word).full


def next_steps(verdict: Verdict) -> tuple[str, ...]:
    """What to do now, the first thing first."""
    return _NEXT[verdict.word]


def share(value: float) -> str:
    """A share in per cent, never rounded to none or all.

    >>> share(0.004), share(0.31), share(0.998)
    ('under 1 %', '31 %', 'over 99 %')
    """
    if 0 < value < 0.01:
        return "under 1 %"
    return "over 99 %" if 0.99 < value < 1 else f"{value:.0%}".replace("%", " %")


def compared(verdict: Verdict) -> str:
    """Which networks it was compared with, and how like them it is."""
    name = verdict.architecture
    if verdict.probed:
        return (
            f"Its architecture ({name}) was not learned from. It was judged by what holds in every recipe: by its "
            "weights, and by what it answers on images made for this."
        )
    if verdict.compared_with == "architecture" and verdict.foreign:
        return (
            f"Its architecture ({name}) is known, but it was trained otherwise than the networks that the detector "
            "learned from: it was judged by what holds in every recipe, and that says less."
        )
    if verdict.compared_with == "architecture" and verdict.nearer < 1:
        return (
            f"Compared with networks of its own architecture ({name}) that the detector learned from. "
            f"{share(verdict.nearer)} of the reference networks are more typical than this one."
        )
    if verdict.compared_with == "architecture":
        return (
            f"Its architecture ({name}) is known, but it is unlike every network that the detector learned from: "
            "it was trained in another way, or hardly at all."
        )
    like = "its family only" if verdict.compared_with == "family" else "no network like it"
    return f"Its architecture ({name}) was not learned from: {like} is known. What is said of it is weaker for that."


def record(evidence: Evidence) -> str:
    """How the detector does on networks of the kind, each judged by what had not learned of it."""
    clean, trojaned = evidence.rates["clean"], evidence.rates["trojaned"]
    if not clean or not trojaned:
        return "How the detector does on networks of its kind was not measured."
    kind = (
        "the reference networks" if evidence.known else "networks of other recipes, each judged by the rest"
    )
    return (
        f"Of {kind}: among {sum(trojaned.values())} trojaned ones {_counted(trojaned)}; "
        f"among {sum(clean.values())} clean ones {_counted(clean)}."
    )


def _counted(rates: Mapping[Word, int]) -> str:
    words: tuple[Word, ...] = get_args(Word)
    return ", ".join(f"{rates[word]} {word}" for word in words if rates.get(word))
