"""One line of a pre-flight: what was looked at, how it came out, how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Line", "State", "line", "shown"]


class State(StrEnum):
    """How a check came out; `unchecked` is one that this machine cannot make."""

    OK = "ok"
    PROBLEM = "problem"
    UNCHECKED = "unchecked"


@dataclass(frozen=True)
class Line:
    """What was checked, what was found (empty when ok), and how to mend it."""

    state: State
    what: str
    found: str = ""
    remedy: str = ""


def line(what: str, problems: Iterable[str], remedy: str) -> Line:
    """Ok where there are no problems, else all of them in one line."""
    found = "; ".join(problems)
    return Line(State.PROBLEM, what, found, remedy) if found else Line(State.OK, what)


def shown(one: Line) -> str:
    """The line as the terminal gets it."""
    text = f"{one.state:<9}  {one.what}"
    if one.state is State.OK:
        return text + (f" ({one.found})" if one.found else "")
    return f"{text}: {one.found}; to mend it: {one.remedy}".replace("\n", " ")
