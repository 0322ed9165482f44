"""One file explained in a terminal: what the page says, in lines of at most 100 characters."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator

from weightfeat.detector import Verdict
from weightfeat.errors import one_line
from weightfeat.report import shown
from weightfeat.report.evidence import Evidence
from weightfeat.report.rules import of_finding, parted
from weightfeat.report.types import Entry
from weightfeat.report.wording import INTERVAL, LIMITS, compared, meaning, next_steps, record, share

__all__ = ["explain"]

_WIDE = 100
_BAR = 30
_NAME = 22


def explain(entry: Entry, bar: str = "█") -> str:
    """The verdict of a file that was analysed, with its evidence. `bar` is the character that bars are made of."""
    verdict, evidence = entry.verdict, entry.evidence
    assert verdict is not None
    assert evidence is not None
    sections = {
        str(entry.path): list(_verdict(verdict, entry)),
        "Where it lies": list(_scale(verdict, evidence, bar)),
        "Classes": list(_classes(entry, verdict, evidence, bar)),
        "Layers": list(_layers(evidence, bar)),
        "Findings": [f"{of_finding(kind).id}: {detail}" for kind, detail in map(parted, verdict.findings)],
        "Compared with": [compared(verdict), record(evidence)],
        "What to do next": [f"{at}. {step}" for at, step in enumerate(next_steps(verdict), 1)],
        "Limits": list(LIMITS),
    }
    lines = []
    for title, said in sections.items():
        lines += [one_line(title), *(f"  {line}" for one in said for line in _wrapped(one)), ""]
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    """Lines of a sentence; what is laid out already stays as it is."""
    if text.startswith(" "):
        return [one_line(text)]
    return textwrap.wrap(one_line(text), _WIDE - 2, subsequent_indent="  ") or [""]


def _verdict(verdict: Verdict, entry: Entry) -> Iterator[str]:
    low, high = verdict.interval
    yield f"{verdict.word.upper()}: probability of a trojan {verdict.probability:.2f} [{low:.2f}, {high:.2f}]"
    yield meaning(verdict)
    yield INTERVAL
    yield f"{verdict.architecture}, {verdict.num_classes} classes, {entry.size:,} bytes, sha256 {entry.sha256}"
    if entry.acceptance is not None:
        until = f" until {entry.acceptance.until}" if entry.acceptance.until else ""
        yield f"Accepted{until}: {entry.acceptance.reason}"
    if verdict.is_named and verdict.suspect is not None:
        target = entry.called(verdict.suspect.target)
        yield f"Its suspected target, the class that a trigger would lead to, is class {target}."


def _scale(verdict: Verdict, evidence: Evidence, bar: str) -> Iterator[str]:
    yield f"Clean networks of its kind that look at least as suspicious: {share(verdict.clean_share)}."
    if not len(evidence.clean):
        return
    yield f"  {'probability':13}  {'clean networks':{_BAR}}  trojaned networks"
    for column in shown.scale(evidence):
        here = column.low <= verdict.probability < column.high or (verdict.probability == 1 == column.high)
        mark = " < this network" if here else ""
        clean = f"{bar * round(_BAR / 2 * column.clean_height)} {column.clean or ''}"
        trojaned = f"{bar * round(_BAR / 2 * column.trojaned_height)} {column.trojaned or ''}"
        yield f"  {column.low:.2f} to {column.high:.2f}  {clean:{_BAR}}  {trojaned}{mark}".rstrip()


def _classes(entry: Entry, verdict: Verdict, evidence: Evidence, bar: str) -> Iterator[str]:
    bars, others = shown.classes(evidence, verdict)
    yield (
        "Probability that the network is trojaned with this class as the target, by its classes alone:"
        if evidence.known
        else "How far each class stands out of the others, in the way that targets do (usual deviations):"
    )
    names = {each.index: _name(entry, each.index) for each in bars}
    wide = max((len(name) for name in names.values()), default=0)
    for each in bars:
        part = f"  suspected {each.part}" if each.part else ""
        told = f"  class {each.index:4} {names[each.index]:{wide}} {each.value:6.2f}"
        yield f"{told}  {bar * round(_BAR * each.length)}{part}".rstrip()
    if others:
        yield f"and {others} classes below these"
    if verdict.is_named and verdict.suspect is not None:
        target = entry.called(verdict.suspect.target)
        yield f"What singles class {target} out, in usual deviations from the middle class:"
        for words, value in shown.standing(evidence):
            yield f"  {value:+5.1f}  {words}"


def _name(entry: Entry, index: int) -> str:
    name = entry.class_name(index)
    if name is None:
        return ""
    return f'"{name}"' if len(name) <= _NAME else f'"{name[: _NAME - 3]}..."'


def _layers(evidence: Evidence, bar: str) -> Iterator[str]:
    first, others = shown.layers(evidence)
    yield (
        "Largest singular value over the largest that a random matrix of the same size would have (the "
        "Marchenko-Pastur edge), share of values above that edge, and how far the loudest channel stands out:"
    )
    for layer in first:
        name = layer.name if len(layer.name) <= 28 else f"...{layer.name[-25:]}"
        channel = "" if math.isnan(layer.channel) else f"{layer.channel:+6.1f}"
        yield f"  {name:28}  {layer.leading[0]:6.2f}  {share(layer.above):>9}  {channel}".rstrip()
    if others:
        yield f"and {len(others)} layers whose largest value lies lower"
