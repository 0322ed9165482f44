"""What every format is made from: one entry a file, and what is true of the whole run."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from weightfeat.detector import Verdict
from weightfeat.detector.words import Word
from weightfeat.errors import BadCommandLine, WeightfeatError
from weightfeat.report.evidence import Evidence

__all__ = ["NOT_ANALYSED", "SAID", "Acceptance", "Entry", "Heading", "Report", "Said", "Threshold"]

NOT_ANALYSED: Final = "not analysed"
Said = Word | Literal["not analysed"]
SAID: tuple[Said, ...] = (*get_args(Word), NOT_ANALYSED)
"""All that can be said of a file, the loudest first."""


@dataclass(frozen=True)
class Acceptance:
    """A file that somebody answers for: known by its content, with a reason, and a last day (None: for good)."""

    sha256: str
    reason: str
    until: dt.date | None = None

    def holds(self, today: dt.date) -> bool:
        """Whether it still counts on this day."""
        return self.until is None or today <= self.until


@dataclass(frozen=True)
class Threshold:
    """From where on a verdict is loud.

    `text` is "trojaned", "suspicious" (that or trojaned), "cannot-tell" (all but "no sign found"), "never", or a
    probability.

    >>> Threshold("0.9").text
    '0.9'

    Raises BadCommandLine for any other text.
    """

    text: str

    def __post_init__(self) -> None:
        if self.text not in _LOUD and not _is_share(self.text):
            raise BadCommandLine(
                f"{self.text!r} is no threshold",
                where="--fail-on",
                expected=f"{', '.join(_LOUD)} or a probability from 0 to 1",
                remedy="give one of them",
            )

    def reached(self, verdict: Verdict) -> bool:
        """Whether a verdict is at or above it."""
        if self.text in _LOUD:
            return verdict.word in _LOUD[self.text]
        return verdict.probability >= float(self.text)


_LOUD: dict[str, tuple[Word, ...]] = {
    "trojaned": ("trojaned",),
    "suspicious": ("trojaned", "suspicious"),
    "cannot-tell": ("trojaned", "suspicious", "cannot tell"),
    "never": (),
}


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1 and not math.isnan(float(text))
    except ValueError:
        return False


@dataclass(frozen=True, eq=False)
class Entry:
    """What became of one file: a verdict, or the error that says why there is none.

    Attributes
    ----------
    size, sha256 : None where the file could not be read at all.
    loud : whether the verdict reaches the run's threshold, accepted or not.
    acceptance : the one that holds today.
    evidence : what a reader is shown beside the verdict; None where no format asked for it.
    class_names : what its classes are called, a name a class; none where that is not known.
    """

    path: Path
    size: int | None = None
    sha256: str | None = None
    verdict: Verdict | None = None
    error: WeightfeatError | None = None
    loud: bool = False
    acceptance: Acceptance | None = None
    evidence: Evidence | None = None
    class_names: tuple[str, ...] = ()

    @property
    def said(self) -> Said:
        """The verdict's word, or that there is none."""
        return NOT_ANALYSED if self.verdict is None else self.verdict.word

    def class_name(self, index: int) -> str | None:
        """What a class is called; None where that is not known."""
        return self.class_names[index] or None if index < len(self.class_names) else None

    def called(self, index: int) -> str:
        """A class as a reader is told of it: its number, and its name in quotes where that is known.

        >>> Entry(Path("model.pt"), class_names=("cat", "stop sign")).called(1)
        '1 "stop sign"'
        """
        name = self.class_name(index)
        return str(index) if name is None else f'{index} "{name}"'


@dataclass(frozen=True)
class Heading:
    """What is true of a whole run.

    Attributes
    ----------
    version : weightfeat's. `detector_schema`, `detector_sha256`: of its learned parameters.
    networks, trojaned : how many networks the detector learned from.
    passed_over : files of folders that were left out, by reason.
    interrupted : files that were not looked at, for the run was stopped.
    """

    version: str
    detector_schema: int
    detector_sha256: str
    networks: int
    trojaned: int
    threshold: Threshold
    started: dt.datetime
    seconds: float = 0.0
    passed_over: tuple[tuple[str, int], ...] = ()
    interrupted: int = 0


@dataclass(frozen=True, eq=False)
class Report:
    """A run and its entries, in the order the files were named or found."""

    heading: Heading
    entries: Sequence[Entry]

    @property
    def counts(self) -> dict[Said, int]:
        """How many files each thing was said of, the loudest first; what was said of none is 0."""
        found = Counter(entry.said for entry in self.entries)
        return {said: found[said] for said in SAID}
