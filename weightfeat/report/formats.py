"""The list of formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weightfeat.report.cyclonedx import cyclonedx
from weightfeat.report.document import json_document, json_line
from weightfeat.report.html import html
from weightfeat.report.markdown import markdown
from weightfeat.report.sarif import sarif
from weightfeat.report.text import line, text
from weightfeat.report.types import Entry, Heading, Report

__all__ = ["FORMATS", "Format", "by_suffix"]


@dataclass(frozen=True)
class Format:
    """A way to write a report.

    Attributes
    ----------
    name, suffixes : what the command line calls it, and the ends of file names that stand for it.
    whole : the report as text.
    line : an entry as a line, for a format whose lines can be written while the scan goes on.
    evidence : whether it shows more of a file than its verdict.
    """

    name: str
    suffixes: tuple[str, ...]
    whole: Callable[[Report], str]
    line: Callable[[Entry, Heading], str] | None = None
    evidence: bool = False


def _jsonl(report: Report) -> str:
    return "".join(json_line(entry, report.heading) + "\n" for entry in report.entries)


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format("text", (".txt",), text, lambda entry, heading: line(entry)),
        Format("json", (".json",), json_document),
        Format("jsonl", (".jsonl", ".ndjson"), _jsonl, json_line),
        Format("sarif", (".sarif", ".sarif.json"), sarif),
        Format("markdown", (".md",), markdown),
        Format("html", (".html", ".htm"), html, evidence=True),
        Format("cyclonedx", (".cdx.json", ".bom.json"), cyclonedx),
    )
}


def by_suffix(path: Path) -> Format | None:
    """The format that a file's name ends in; the longest end counts."""
    ends = {suffix: each for each in FORMATS.values() for suffix in each.suffixes}
    fitting = [suffix for suffix in ends if path.name.lower().endswith(suffix)]
    return ends[max(fitting, key=len)] if fitting else None
