"""The processes a detector started: how much memory they hold, and how to end all of them.

Members are known by their session, and by a mark in their environment where they left it (a daemon's double fork).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

__all__ = ["MARK", "Member", "end_all", "members", "memory"]

MARK = "WEIGHTFEAT_EVALUATION"
"""Environment variable that every detector process inherits: the folder of its evaluation."""

CAGE = "bwrap"
DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


@dataclass(frozen=True)
class Member:
    """A living process: its id, its command's name, its resident memory in bytes."""

    pid: int
    name: str
    resident: int


def members(session: int | None, mark: str) -> list[Member]:
    """All living processes of the session or with the mark, this one excepted."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # gone meanwhile, or another user's
            alive = process.pid != os.getpid() and process.status() not in DEAD
            if alive and (os.getsid(process.pid) == session or _marked(process, mark)):
                found.append(Member(process.pid, process.name(), process.memory_info().rss))
    return found


def memory(session: int) -> int:
    """Resident bytes of a session's processes together; pages they share count for each."""
    total = 0
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            total += psutil.Process(pid).memory_info().rss if os.getsid(pid) == session else 0
    return total


def ask_to_end(session: int, mark: str) -> None:
    """Send TERM to all but bubblewrap itself, whose death would take the others down without warning."""
    for member in members(session, mark):
        if member.name != CAGE:
            _send(member.pid, signal.SIGTERM)


def end_all(session: int | None, mark: str, patience: float = 10.0) -> list[Member]:
    """Send KILL until nothing is left, and return what was found first (bubblewrap itself left out)."""
    first = [member for member in members(session, mark) if member.name != CAGE]
    deadline = time.monotonic() + patience
    while (left := members(session, mark)) and time.monotonic() < deadline:
        for member in left:
            _send(member.pid, signal.SIGKILL)
        _until(lambda: not members(session, mark), 0.2)
    return first


def _until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.005)


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return bool(process.environ().get(MARK) == mark)
    except (psutil.Error, OSError):  # another user's, or gone
        return False


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
