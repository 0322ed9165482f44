"""Stable ids for all that a scan can say of a file: what pipelines filter by, so none of them ever changes."""

from __future__ import annotations

from dataclasses import dataclass

from weightfeat.detector.words import Word
from weightfeat.errors import WeightfeatError

__all__ = ["RULES", "Rule", "of_error", "of_finding", "of_word", "parted"]


@dataclass(frozen=True)
class Rule:
    """One thing that can be said. `level` is SARIF's ("error", "warning", "note" or "none")."""

    id: str
    name: str
    level: str
    short: str
    full: str


_WORDS: dict[Word, Rule] = {
    "trojaned": Rule(
        "WF-TROJAN",
        "LooksTrojaned",
        "error",
        "The network looks trojaned.",
        "Its weights look like those of networks that answer a hidden trigger. Of clean networks of its kind at most "
        "one in twenty looks as suspicious.",
    ),
    "suspicious": Rule(
        "WF-SUSPICIOUS",
        "LooksSuspicious",
        "warning",
        "The network looks suspicious.",
        "Of clean networks of its kind between one in twenty and one in five look as suspicious, or fewer while the "
        "network is still more likely clean than not.",
    ),
    "cannot tell": Rule(
        "WF-UNSURE",
        "CannotTell",
        "none",
        "Nothing can be said of the network.",
        "Too few networks of its kind are known, or trojaned ones were not told from clean ones among them. Silence "
        "means nothing here.",
    ),
    "no sign found": Rule(
        "WF-NO-SIGN",
        "NoSignFound",
        "none",
        "No sign of a trojan was found.",
        "More than one in five clean networks of its kind look as suspicious. That is no proof that it is clean.",
    ),
}
_FINDINGS = {
    "foreign-callable": Rule(
        "WF-FOREIGN-CALL",
        "ForeignCall",
        "warning",
        "The file names code that no weight file needs.",
        "Loading the file by pickle would import or call it. weightfeat read the file without running anything in it.",
    ),
    "unreadable-tensor": Rule(
        "WF-UNREADABLE-TENSOR",
        "UnreadableTensor",
        "warning",
        "A tensor of the file could not be read.",
        "The verdict was made without it.",
    ),
    "ambiguous-order": Rule(
        "WF-AMBIGUOUS-ORDER",
        "AmbiguousOrder",
        "note",
        "The file keeps no order of layers.",
        "The order was worked out from names and shapes.",
    ),
    "outside-tables": Rule(
        "WF-OUTSIDE-TABLES",
        "OutsideTables",
        "warning",
        "The network holds weights or code outside the tables that were analysed.",
        "What it does with them is not part of the verdict.",
    ),
    "second-network": Rule(
        "WF-SECOND-NETWORK",
        "SecondNetwork",
        "warning",
        "The file holds another network beside the one that was analysed.",
        "The verdict says nothing of the other one.",
    ),
    "doubt": Rule(
        "WF-DOUBT",
        "Doubt",
        "warning",
        "What was read may not be the network that computes.",
        "The verdict is that nothing can be said, whatever the probability.",
    ),
    "note": Rule(
        "WF-NOTE",
        "Note",
        "note",
        "Something about the file that its owner should know.",
        "See the message.",
    ),
}
_ERRORS = {
    "UnreadableFile": Rule(
        "WF-UNREADABLE",
        "UnreadableFile",
        "none",
        "The file cannot be read as a model.",
        "It is absent, empty, cut off, or of no format that is known.",
    ),
    "UnsupportedLayout": Rule(
        "WF-UNSUPPORTED",
        "UnsupportedLayout",
        "none",
        "What the file holds cannot be analysed.",
        "Its format is known, but not this way of keeping weights, or the numbers in it cannot be computed with.",
    ),
    "HostileFile": Rule(
        "WF-HOSTILE",
        "HostileFile",
        "error",
        "The file is built to deceive or to exhaust whoever reads it.",
        "Two readers would see two different things in it, or it asks for more than any network needs.",
    ),
    "NotAClassifier": Rule(
        "WF-NOT-A-CLASSIFIER",
        "NoClassifier",
        "none",
        "No classification layer was found among the weights.",
        "Only image classifiers are analysed.",
    ),
}
_FAILED = Rule(
    "WF-FAILED",
    "Failed",
    "none",
    "The analysis of the file failed.",
    "The process that read it was killed, or met something that nobody had foreseen.",
)
RULES: tuple[Rule, ...] = (*_WORDS.values(), *_FINDINGS.values(), *_ERRORS.values(), _FAILED)
"""Every rule, in the order that documents list them."""


def of_word(word: Word) -> Rule:
    """The rule of a verdict's word."""
    return _WORDS[word]


def of_finding(kind: str) -> Rule:
    """The rule of a finding's kind; of one that is not listed, that of notes."""
    return _FINDINGS.get(kind, _FINDINGS["note"])


def of_error(error: WeightfeatError) -> Rule:
    """The rule of why a file was not analysed."""
    return _ERRORS.get(type(error).__name__, _FAILED)


def parted(finding: str) -> tuple[str, str]:
    """Kind and detail of a verdict's finding, which is one line.

    >>> parted("note: unknown architecture")
    ('note', 'unknown architecture')
    """
    kind, colon, detail = finding.partition(": ")
    return (kind, detail) if colon and kind in _FINDINGS else ("note", finding)
