"""What can go wrong inside a file; `read` turns each into the error a user sees, with the path in it."""

from __future__ import annotations


class Malformed(Exception):
    """The bytes break the format's own rules, or end too early."""


class Unsupported(Exception):
    """The format is sound, but this variety of it is not read."""


class Abuse(Exception):
    """No tool writes this by accident: it would deceive or exhaust a reader."""


class Unreadable(Exception):
    """One tensor cannot be had; the rest of the file still can."""
