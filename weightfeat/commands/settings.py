"""What a project says of its scans once and for all: `.weightfeat.toml`, or `[tool.weightfeat]` of a pyproject.toml.

Looked for in the working folder alone: never in what is scanned, which would excuse itself.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightfeat.errors import WeightfeatError
from weightfeat.report import Acceptance, Threshold

__all__ = ["FILE", "BadSettings", "Settings", "load"]

FILE = ".weightfeat.toml"
USUAL = Threshold("trojaned")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BadSettings(WeightfeatError):
    """The settings' file cannot be read, or says something that means nothing."""


@dataclass(frozen=True)
class Settings:
    """`where`: the file that they come from, None for the defaults."""

    where: Path | None = None
    fail_on: Threshold = USUAL
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    accepted: tuple[Acceptance, ...] = ()

    def acceptance(self, sha256: str | None, today: dt.date) -> Acceptance | None:
        """The one that holds today for a file of this content."""
        held = (each for each in self.accepted if each.sha256 == sha256 and each.holds(today))
        return next(held, None)

    def expired(self, today: dt.date) -> tuple[Acceptance, ...]:
        """Those that no longer hold."""
        return tuple(each for each in self.accepted if not each.holds(today))


def load(path: Path | None) -> Settings:
    """The settings in `path`; None: those of the working folder, or the defaults where it has none.

    Raises BadSettings.
    """
    if path is not None:
        return _of(path, _table(path, required=True) or {})
    for name in (FILE, "pyproject.toml"):
        table = _table(Path(name), required=False)
        if table is not None:
            return _of(Path(name), table)
    return Settings()


def _table(path: Path, required: bool) -> dict[str, Any] | None:
    """What a file says; None where it is absent, or a pyproject.toml that says nothing of weightfeat."""
    if not required and not path.is_file():
        return None
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})", "a TOML file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _bad(path, f"is no TOML ({error})", "a TOML file") from None
    if path.name != "pyproject.toml":
        return document
    found = document.get("tool", {}).get("weightfeat")
    if found is not None and not isinstance(found, dict):
        raise _bad(path, "tool.weightfeat is no table", "a table")
    return found


def _of(path: Path, table: dict[str, Any]) -> Settings:
    known = ("fail_on", "include", "exclude", "accept")
    if unknown := sorted(set(table) - set(known)):
        raise _bad(path, f"{unknown[0]!r} is no setting", ", ".join(known))
    try:
        threshold = Threshold(str(table.get("fail_on", USUAL.text)))
    except WeightfeatError as error:
        raise _bad(path, f"fail_on: {error.what}", error.expected) from None
    accepted = table.get("accept", [])
    if not isinstance(accepted, list):
        raise _bad(path, "accept is no list of tables", "[[accept]] tables")
    return Settings(
        path,
        threshold,
        _patterns(path, table, "include"),
        _patterns(path, table, "exclude"),
        tuple(_acceptance(path, number, each) for number, each in enumerate(accepted, 1)),
    )


def _patterns(path: Path, table: dict[str, Any], name: str) -> tuple[str, ...]:
    found = table.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise _bad(path, f"{name} is no list of patterns", 'a list such as ["*.pt"]')
    return tuple(found)


def _acceptance(path: Path, number: int, given: Any) -> Acceptance:
    expected = "sha256 (64 hexadecimal digits), reason, and until (a date such as 2027-05-01) or none"
    where = f"accept number {number}"
    if not isinstance(given, dict) or not set(given) <= {"sha256", "reason", "until"}:
        raise _bad(path, f"{where} says something else", expected)
    sha256, reason, until = given.get("sha256"), given.get("reason"), given.get("until")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256.lower()):
        raise _bad(path, f"{where} names no file by its sha256", expected)
    if not isinstance(reason, str) or not reason.strip():
        raise _bad(path, f"{where} gives no reason", expected)
    if until is not None and (not isinstance(until, dt.date) or isinstance(until, dt.datetime)):
        raise _bad(path, f"{where} ends on no date", expected)
    return Acceptance(sha256.lower(), reason.strip(), until)


def _bad(path: Path, what: str, expected: str) -> BadSettings:
    return BadSettings(
        what, where=path, expected=expected, remedy="mend the file, or name another with --config"
    )
