"""A verdict as a few lines of HTML, for a notebook: the page of a scan says more."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from weightfeat.errors import one_line

if TYPE_CHECKING:
    from weightfeat.detector.verdict import Verdict

__all__ = ["card"]


def card(verdict: Verdict) -> str:
    """A fragment without a style sheet or a script; whatever a file wrote is escaped."""
    low, high = verdict.interval
    rows = {
        "probability of a trojan": f"{verdict.probability:.2f}, interval {low:.2f} to {high:.2f}",
        "clean networks at least as suspicious": f"{verdict.clean_share:.0%}",
        "suspected target class": str(verdict.suspect.target)
        if verdict.suspect and verdict.is_named
        else "none",
        "network": f"{verdict.architecture}, {verdict.num_classes} classes",
        "compared with": verdict.compared_with,
        "findings": "; ".join(verdict.findings) or "none",
    }
    body = "".join(
        f'<tr><th scope="row">{_safe(name)}</th><td>{_safe(said)}</td></tr>' for name, said in rows.items()
    )
    title = verdict.word if verdict.path is None else f"{verdict.word}: {verdict.path}"
    return f"<table><caption><b>{_safe(title)}</b></caption><tbody>{body}</tbody></table>"


def _safe(text: str) -> str:
    return escape(one_line(text))
