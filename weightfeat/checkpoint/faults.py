"""What can go wrong inside a file; `read` turns each into the error a user sees, with the path in it."""

from __future__ import annotations


class Fault(Exception):
    """A reason why a file is not read; `remedy` is what to do about it where that is not what its class says."""

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy


class Malformed(Fault):
    """The bytes break the format's own rules, or end too early."""


class Unsupported(Fault):
    """The format is sound, but this variety of it is not read."""


class Abuse(Fault):
    """No tool writes this by accident: it would deceive or exhaust a reader."""


class Unreadable(Exception):
    """One tensor cannot be had; the rest of the file still can."""
