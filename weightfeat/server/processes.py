"""The processes a detector started, found in /proc: how much memory they hold, and how to end all of them.

Members are known by their session, and by a mark in their environment where they left it (a daemon's double fork).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MARK", "Member", "end_all", "members", "memory"]

MARK = "WEIGHTFEAT_EVALUATION"
"""Environment variable that every detector process inherits: the folder of its evaluation."""

PROC = Path("/proc")
PAGE = os.sysconf("SC_PAGE_SIZE")
CAGE = "bwrap"


@dataclass(frozen=True)
class Member:
    """A living process: its id, its command's name, its resident memory in bytes."""

    pid: int
    name: str
    resident: int


def members(session: int | None, mark: str) -> list[Member]:
    """All living processes of the session or with the mark, this one excepted."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError, ValueError, IndexError):
            # "pid (name) state ppid pgrp session ...": the name may hold blanks and brackets.
            head, _, tail = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")
            fields = tail.split()
            alive = fields[0] not in ("Z", "X")
            if alive and (int(fields[3]) == session or _marked(pid, mark)):
                found.append(Member(pid, head.partition("(")[2], int(fields[21]) * PAGE))
    return found


def memory(session: int) -> int:
    """Resident bytes of a session's processes together; pages they share count for each."""
    total = 0
    for pid in _pids():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
            total += int(fields[21]) * PAGE if int(fields[3]) == session else 0
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


def _pids() -> Iterator[int]:
    own = os.getpid()
    return (int(name) for name in os.listdir(PROC) if name.isdigit() and int(name) != own)


def _marked(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # another user's, or gone
        return False


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
