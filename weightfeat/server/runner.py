"""One detector process on one model: started, watched, stopped at its limits, and nothing of it left running."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from weightfeat.server import processes, trees
from weightfeat.server.logs import Log
from weightfeat.server.processes import MARK

__all__ = ["Ended", "Limits", "Stop", "run"]

FIRST_LOOK, LONGEST_PAUSE = 0.01, 0.1


class Stop(StrEnum):
    """Why the server stopped a detector that had not ended by itself."""

    NONE = "none"
    TIME = "time"
    STUBBORN = "stubborn"  # over time, and TERM did not end it either
    SPACE = "space"


@dataclass(frozen=True)
class Limits:
    """What one model may cost: seconds of wall time, seconds between TERM and KILL, bytes it writes."""

    seconds: float
    grace: float = 10.0
    space: int = 16 << 30


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    `exit_code` is negative for a signal, None where it never started (`failure` says why). `seconds` is wall time
    from start to end, `peak` the most resident bytes its processes held together, `left` the names of processes
    that outlived the one started.
    """

    exit_code: int | None
    seconds: float
    peak: int
    stop: Stop = Stop.NONE
    left: tuple[str, ...] = ()
    failure: str = ""


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    mark: str,
    logs: tuple[Path, Path],
    places: Sequence[Path],
    limits: Limits,
) -> Ended:
    """Run `command` in a session of its own and wait for it; whatever happens, none of its processes survives.

    The beginning and the end of its stdout and stderr go to `logs`. `mark` is put into the environment to know its
    processes by. `places` are the folders it may write to: what they grow by counts against the limit.
    """
    start = time.monotonic()
    with ExitStack() as stack:
        out, err = (stack.enter_context(contextlib.closing(Log(path))) for path in logs)
        watch = _Watch(places, limits, start)
        try:
            child = subprocess.Popen(
                command,
                cwd=cwd,
                env={**environment, MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=out.descriptor,
                stderr=err.descriptor,
                start_new_session=True,
            )
        except OSError as error:
            return Ended(
                None, time.monotonic() - start, 0, failure=f"{command[0]}: {error.strerror or error}"
            )
        for log in (out, err):
            log.started()
        try:
            stop = watch.until_it_ends(child.pid, mark)
            seconds = time.monotonic() - start
        finally:
            left = processes.end_all(child.pid, mark)
            code = child.wait()
    names = tuple(member.name for member in left) if stop is Stop.NONE else ()
    return Ended(code, seconds, watch.peak, stop, names)


class _Watch:
    """Looks at a running detector every now and then, and at once when it ends."""

    def __init__(self, places: Sequence[Path], limits: Limits, start: float) -> None:
        self.places, self.limits, self.start = places, limits, start
        self.peak, self.before = 0, self._used()

    def until_it_ends(self, pid: int, mark: str) -> Stop:
        """Wait within the limits; past them send TERM, and KILL after the grace."""
        descriptor = os.pidfd_open(pid)
        try:
            stop = self._within_limits(pid, descriptor)
            if stop is not Stop.NONE:
                processes.ask_to_end(pid, mark)
                if not self._ends_by(descriptor, time.monotonic() + self.limits.grace) and stop is Stop.TIME:
                    stop = Stop.STUBBORN
            return stop
        finally:
            os.close(descriptor)

    def _within_limits(self, pid: int, descriptor: int) -> Stop:
        pause, deadline = FIRST_LOOK, self.start + self.limits.seconds
        while not self._ends_by(descriptor, min(time.monotonic() + pause, deadline)):
            self.peak = max(self.peak, processes.memory(pid))
            if self._too_much():
                return Stop.SPACE
            if time.monotonic() >= deadline:
                return Stop.TIME
            pause = min(2 * pause, LONGEST_PAUSE)
        # A detector that fills the disk faster than it is looked at has still used too much.
        return Stop.SPACE if self._too_much() else Stop.NONE

    @staticmethod
    def _ends_by(descriptor: int, deadline: float) -> bool:
        wait = max(deadline - time.monotonic(), 0.0)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(wait * 1000))

    def _too_much(self) -> bool:
        return self._used() - self.before > self.limits.space

    def _used(self) -> int:
        return sum(map(trees.size, self.places))
