"""Markdown: a table for a pull request or an issue, and what needs a reader's eye below it."""

from __future__ import annotations

import re

from weightfeat.errors import one_line
from weightfeat.report.rules import of_error, of_finding, parted
from weightfeat.report.text import Tally, summary
from weightfeat.report.types import Entry, Report
from weightfeat.report.wording import INTERVAL, LIMITS, compared, meaning, next_steps

__all__ = ["markdown"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~&@-])")


def markdown(report: Report) -> str:
    """The run as one document."""
    tally = Tally()
    for entry in report.entries:
        tally.add(entry)
    first, *others = summary(tally, report.heading)
    parts = ["# Model scan", "", first + ".", *(f"- {_plain(line)}" for line in others), ""]
    parts += [
        "| file | verdict | probability | interval | target class | network |",
        "|---|---|---|---|---|---|",
    ]
    parts += [_row(entry) for entry in report.entries]
    for entry in report.entries:
        parts += _section(entry)
    parts += ["", "## How to read this", "", INTERVAL, "", *(f"- {limit}" for limit in LIMITS), ""]
    heading = report.heading
    parts.append(
        f"weightfeat {heading.version}, learned from {heading.networks} networks "
        f"({heading.trojaned} trojaned), detector {heading.detector_sha256[:12]}."
    )
    return "\n".join(parts) + "\n"


def _row(entry: Entry) -> str:
    verdict = entry.verdict
    accepted = " (accepted)" if entry.acceptance else ""
    if verdict is None:
        return f"| {_path(entry)} | not analysed{accepted} | | | | |"
    low, high = verdict.interval
    target = _plain(entry.called(verdict.suspect.target)) if verdict.is_named and verdict.suspect else ""
    word = f"**{verdict.word}**" if entry.loud else verdict.word
    about = f"{_plain(verdict.architecture)}, {verdict.num_classes} classes"
    return (
        f"| {_path(entry)} | {word}{accepted} | {verdict.probability:.2f} | {low:.2f} to {high:.2f} "
        f"| {target} | {about} |"
    )


def _section(entry: Entry) -> list[str]:
    """Of a file that was found loud, accepted, not analysed, or that something odd was found in."""
    lines: list[str] = []
    if entry.acceptance is not None:
        until = f" until {entry.acceptance.until}" if entry.acceptance.until else ""
        lines.append(f"- Accepted{until}: {_plain(entry.acceptance.reason)}")
    if entry.error is not None:
        lines.append(f"- {of_error(entry.error).id}: {_plain(str(entry.error))}")
    verdict = entry.verdict
    findings = [] if verdict is None else [parted(finding) for finding in verdict.findings]
    if entry.loud and verdict is not None:
        lines += [
            f"- {meaning(verdict)}",
            f"- {_plain(compared(verdict))}",
            *(f"- {step}" for step in next_steps(verdict)),
        ]
    lines += [f"- {of_finding(kind).id}: {_plain(detail)}" for kind, detail in findings]
    return ["", f"## {_path(entry)}", "", *lines] if lines else []


def _path(entry: Entry) -> str:
    return _plain(str(entry.path))


def _plain(text: str) -> str:
    """Text that markdown leaves as it is, whoever wrote it."""
    return _SPECIAL.sub(r"\\\1", one_line(text))
