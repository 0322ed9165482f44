"""Why a result is missing or bad: one of a closed list of reasons, and what the scorer makes of it."""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path

from weightfeat.evaluation.metrics import MISSING
from weightfeat.server import trees
from weightfeat.server.places import Workspace
from weightfeat.server.runner import Ended, Stop

__all__ = ["REMEDIES", "RESULT_BYTES", "Reason", "Verdict", "judge"]

RESULT_BYTES = 1 << 16
"""What is read, and kept, of a result file: a number needs a few, and a hole in a file may claim any length."""
TAIL_BYTES = 1 << 16
SEARCHED = 2000
"""Files looked at, at most, for a result that went astray."""


class Reason(StrEnum):
    """What came of one model; but for OK and NO_MODEL a fault of the detector's."""

    OK = "ok"
    NO_MODEL = "model missing"
    CANNOT_START = "cannot start"
    TIMED_OUT = "timed out"
    IGNORED_TERM = "timed out and ignored TERM"
    NO_TIME_LEFT = "not run: overall time used up"
    FILLED_SCRATCH = "filled scratch"
    NEEDS_NETWORK = "needs the network"
    WROTE_ELSEWHERE = "wrote elsewhere"
    LEFT_PROCESSES = "left processes behind"
    CRASHED = "crashed"
    WROTE_NOTHING = "wrote nothing"
    NOT_A_NUMBER = "result is nan"
    NOT_PARSED = "result is not a number"
    SEVERAL_LINES = "result has several lines"
    OUT_OF_RANGE = "result outside 0 to 1"


REMEDIES: dict[Reason, str] = {
    Reason.NO_MODEL: "mend the round: nothing was run",
    Reason.CANNOT_START: "check that the command exists and may be executed",
    Reason.TIMED_OUT: "make it faster, or write a first guess to the result file early",
    Reason.IGNORED_TERM: "make it faster, and let TERM end it",
    Reason.NO_TIME_LEFT: "make it faster: the models before this one used up the time",
    Reason.FILLED_SCRATCH: "write less, and delete what is no longer needed",
    Reason.NEEDS_NETWORK: "ship everything inside the container: there is no network",
    Reason.WROTE_ELSEWHERE: "write only to --result_filepath and below --scratch_dirpath",
    Reason.LEFT_PROCESSES: "wait for every child process before ending",
    Reason.CRASHED: "see its stderr; catch errors and write 0.5",
    Reason.WROTE_NOTHING: "write the probability to --result_filepath before ending",
    Reason.NOT_A_NUMBER: "replace nan by 0.5 before writing, and find where it comes from",
    Reason.NOT_PARSED: "write one number, as in 0.5, and nothing else",
    Reason.SEVERAL_LINES: "write one line: the others are not read",
    Reason.OUT_OF_RANGE: "write a probability, not a score",
}

NO_NETWORK = re.compile(
    r"network is unreachable|name or service not known|temporary failure in name resolution|could not resolve host"
    r"|no address associated with hostname|connection refused|connectionerror|urlopen error|max retries exceeded"
    r"|network unreachable|nodename nor servname",
    re.IGNORECASE,
)
NO_WRITING = re.compile(r"read-only file system|permission denied|errno 30\b|errno 13\b", re.IGNORECASE)
CAGE_CANNOT_START = re.compile(r"^(bwrap: execvp|setpriv: ).*$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """A reason, one line of detail, the number in the result file (None where there is none) and what is scored.

    `score` lies in [0, 1]: 0.5 for what is missing, unparsable or nan, else the number, clipped. `warnings` are
    faults beside a result that counts.
    """

    reason: Reason
    detail: str
    value: float | None
    score: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Result:
    reason: Reason
    detail: str
    value: float | None = None


def judge(
    ended: Ended,
    space: Workspace,
    stderr: Path,
    since: float,
    strays: Sequence[Path],
    places: Iterable[Path],
) -> Verdict:
    """Name what happened in a run that has ended.

    A number in the result file counts however the run ended, as it does for a harness that looks there afterwards.

    Parameters
    ----------
    since : time (seconds since the epoch) at which the run began.
    strays : files it left outside the paths it was given.
    places : folders beyond the workspace where a stray result may lie.
    """
    said = _tail(stderr)
    result = _read_result(space.result)
    candidates = chain(strays, trees.files(space.scratch), *map(_directly_in, places))
    reason, detail = _of_run(ended, said, result) or _of_result(ended, said, result, since, candidates)
    warnings = [f"files outside the given paths: {', '.join(map(str, strays[:3]))}"] if strays else []
    score = MISSING if result.value is None else min(max(result.value, 0.0), 1.0)
    return Verdict(reason, detail, result.value, score, tuple(warnings))


def _of_run(ended: Ended, said: str, result: _Result) -> tuple[Reason, str] | None:
    """What the way it ended says, whatever the result."""
    in_cage = CAGE_CANNOT_START.search(said) if ended.exit_code else None
    if ended.exit_code is None or in_cage:
        return Reason.CANNOT_START, ended.failure or (in_cage.group() if in_cage else "")
    if ended.stop is Stop.SPACE:
        return Reason.FILLED_SCRATCH, "scratch and output grew past their limit"
    if ended.stop is Stop.STUBBORN:
        return Reason.IGNORED_TERM, f"killed after {ended.seconds:.1f} s"
    if ended.stop is Stop.TIME:
        return Reason.TIMED_OUT, f"stopped after {ended.seconds:.1f} s"
    return None


def _of_result(
    ended: Ended, said: str, result: _Result, since: float, candidates: Iterable[Path]
) -> tuple[Reason, str]:
    failed = f"exit code {ended.exit_code}" if ended.exit_code else ""
    if (ended.exit_code or 0) < 0 or (ended.exit_code or 0) > 128:
        failed += ", killed by a signal (9: out of memory?)"
    last = next((line.strip()[:300] for line in reversed(said.splitlines()) if line.strip()), "")
    if result.reason is Reason.WROTE_NOTHING:
        if (network := NO_NETWORK.search(said)) is not None:
            return Reason.NEEDS_NETWORK, _line_of(said, network)
        if (astray := _astray(candidates, since)) is not None:
            return Reason.WROTE_ELSEWHERE, f"a number lies in {astray}"
        if (refused := NO_WRITING.search(said)) is not None:
            return Reason.WROTE_ELSEWHERE, _line_of(said, refused)
        if ended.left and not ended.exit_code:
            return Reason.LEFT_PROCESSES, f"still running when it ended: {', '.join(ended.left[:3])}"
    if result.reason in (Reason.OK, Reason.WROTE_NOTHING):
        if ended.exit_code:
            return Reason.CRASHED, ": ".join(filter(None, (failed, last)))
        if ended.left:
            return Reason.LEFT_PROCESSES, f"still running when it ended: {', '.join(ended.left[:3])}"
    return result.reason, result.detail


def _read_result(path: Path) -> _Result:
    """The result file as `float(first line)` reads it."""
    try:
        if path.is_symlink() or not path.is_file():
            there = path.is_symlink() or path.exists()
            return (
                _Result(Reason.NOT_PARSED, "not a plain file") if there else _Result(Reason.WROTE_NOTHING, "")
            )
        with path.open("rb") as stream:
            text = stream.read(RESULT_BYTES).decode()
    except OSError as error:
        return _Result(Reason.NOT_PARSED, f"cannot be read ({error.strerror})")
    except UnicodeDecodeError:
        return _Result(Reason.NOT_PARSED, "not text")
    if not text.strip():
        return _Result(Reason.WROTE_NOTHING, "the result file is empty")
    first, *others = text.splitlines()
    try:
        value = float(first.strip())
    except ValueError:
        return _Result(Reason.NOT_PARSED, f"first line {first[:80]!r}")
    if math.isnan(value):
        return _Result(Reason.NOT_A_NUMBER, f"first line {first[:80]!r}")
    if any(line.strip() for line in others):
        return _Result(Reason.SEVERAL_LINES, f"first of {len(others) + 1} lines taken", value)
    if not 0.0 <= value <= 1.0:
        return _Result(Reason.OUT_OF_RANGE, f"{value!r} clipped for the cross-entropy", value)
    return _Result(Reason.OK, "", value)


def _directly_in(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from place.iterdir()


def _astray(candidates: Iterable[Path], since: float) -> Path | None:
    """A small new file among them that holds a number."""
    return next((path for path in islice(candidates, SEARCHED) if _holds_a_number(path, since)), None)


def _holds_a_number(path: Path, since: float) -> bool:
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > 64 or about.st_mtime < since:
            return False
        float(path.read_text().strip())
    except (OSError, ValueError):
        return False
    return True


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(path.stat().st_size - TAIL_BYTES, 0))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def _line_of(text: str, found: re.Match[str]) -> str:
    start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
    return text[start : end if end >= 0 else None].strip()[:300]
