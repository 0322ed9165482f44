"""The page: one HTML file that needs nothing else, for whoever a report is sent to.

Everything a model file or a path may have written is escaped; a content policy in the page's head forbids whatever is
not in the page itself, and every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from weightfeat.errors import one_line
from weightfeat.report import shown
from weightfeat.report.rules import of_error, of_finding, parted
from weightfeat.report.text import Tally, summary
from weightfeat.report.types import SAID, Entry, Report
from weightfeat.report.wording import INTERVAL, LIMITS, compared, meaning, next_steps, record, share

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["html"]

_SYMBOLS = {"trojaned": "▲", "suspicious": "◆", "no sign found": "○", "cannot tell": "?", "not analysed": "✕"}
"""A shape beside each word, for whoever does not see its colour."""


@dataclass(frozen=True, eq=False)
class _File:
    """An entry and what the page calls it."""

    entry: Entry
    anchor: str
    path: str


def html(report: Report) -> str:
    """The page."""
    tally = Tally()
    for entry in report.entries:
        tally.add(entry)
    listed = [
        _File(entry, f"file-{at}", one_line(str(entry.path))) for at, entry in enumerate(report.entries, 1)
    ]
    script = _part("page.js")
    return (
        _environment()
        .get_template("page.html")
        .render(
            files=listed,
            heading=report.heading,
            counts={said: count for said, count in report.counts.items() if count},
            summary=summary(tally, report.heading),
            style=_part("page.css"),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _part(name: str) -> str:
    return files("weightfeat.report").joinpath("page", name).read_text(encoding="utf-8")


def _coded(text: str) -> Markup:
    """Text of ours in which what stands between backticks is a command."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("weightfeat.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"coded": _coded, "line": one_line, "share": share, "parted": parted}
    made.globals |= {
        "INTERVAL": INTERVAL,
        "LIMITS": LIMITS,
        "SAID": SAID,
        "SYMBOLS": _SYMBOLS,
        "classes_of": shown.classes,
        "compared": compared,
        "layers_of": shown.layers,
        "meaning": meaning,
        "next_steps": next_steps,
        "record": record,
        "rule_of_error": of_error,
        "rule_of_finding": of_finding,
        "scale_of": shown.scale,
        "standing_of": shown.standing,
    }
    return made
