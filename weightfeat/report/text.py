"""A line a file, and a line about the run: what a terminal shows while a scan goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from weightfeat.errors import one_line
from weightfeat.report.rules import of_error
from weightfeat.report.types import NOT_ANALYSED, SAID, Entry, Heading, Report, Said

__all__ = ["Tally", "line", "listed", "summary", "text"]

_WIDE = len("no sign found")


def text(report: Report) -> str:
    """Every entry's line, then what `summary` says."""
    tally = Tally()
    for entry in report.entries:
        tally.add(entry)
    return "\n".join([*map(line, report.entries), "", *summary(tally, report.heading), ""])


def line(entry: Entry) -> str:
    """What is said of one file, its path last; one printable line whatever the path holds."""
    verdict = entry.verdict
    if verdict is None:
        assert entry.error is not None
        accepted = "" if entry.acceptance is None else f" (accepted: {entry.acceptance.reason})"
        return one_line(f"{NOT_ANALYSED:{_WIDE}}  {entry.error.what}{accepted}  {entry.path}")
    low, high = verdict.interval
    about = [verdict.architecture + _unknown(entry), f"{verdict.num_classes} classes"]
    if verdict.is_named and verdict.suspect is not None:
        about.append(f"target class {entry.called(verdict.suspect.target)}?")
    if entry.acceptance is not None:
        about.append(f"accepted: {entry.acceptance.reason}")
    return one_line(
        f"{verdict.word:{_WIDE}}  {verdict.probability:.2f} [{low:.2f}, {high:.2f}]  {', '.join(about)}  {entry.path}"
    )


def _unknown(entry: Entry) -> str:
    assert entry.verdict is not None
    if entry.verdict.compared_with != "architecture":
        return " (not learned from)"
    if entry.verdict.nearer >= 1:
        return " (unlike all learned from)"
    return " (trained otherwise than those learned from)" if entry.verdict.foreign else ""


class Tally:
    """Counts of what was said, kept while entries pass by."""

    def __init__(self) -> None:
        self.said: Counter[Said] = Counter()
        self.reasons: Counter[str] = Counter()
        self.accepted = 0
        self.loud = 0
        self.failed = 0

    def add(self, entry: Entry) -> None:
        """Count one more."""
        self.said[entry.said] += 1
        accepted = entry.acceptance is not None
        self.accepted += accepted
        self.loud += entry.loud and not accepted
        if entry.error is not None:
            self.reasons[of_error(entry.error).id] += 1
            self.failed += not accepted

    @property
    def files(self) -> int:
        """How many there were."""
        return sum(self.said.values())

    @property
    def exit_code(self) -> int:
        """1 where a verdict that nobody accepted reaches the threshold, else 2 where a file was not analysed."""
        return 1 if self.loud else 2 if self.failed else 0


def summary(tally: Tally, heading: Heading) -> list[str]:
    """What was scanned, said, not analysed and why, and left out."""
    said = [f"{tally.said[word]} {word}" for word in SAID if tally.said[word]]
    files = "1 file" if tally.files == 1 else f"{tally.files} files"
    lines = [f"{files} in {heading.seconds:.1f} s: {', '.join(said) or 'nothing to scan'}"]
    if tally.accepted:
        lines.append(f"{tally.accepted} accepted")
    if tally.reasons:
        lines.append("not analysed, by reason: " + listed(tally.reasons))
    if heading.passed_over:
        lines.append("passed over in folders: " + listed(dict(heading.passed_over)))
    if heading.interrupted:
        lines.append(f"interrupted: {heading.interrupted} files were not looked at")
    return lines


def listed(counts: Mapping[str, int]) -> str:
    """Counts in a row.

    >>> listed({"excluded": 3, "not included": 1})
    '3 excluded, 1 not included'
    """
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())
