"""Every method by its name on the command line. Its module is imported when it is first called, torch with it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightfeat.behaviour.protocol import Method, Outcome, Subject, Work


def _lazy(module: str) -> Method:
    """The `score` of a module of this package, imported on the first call."""

    def score(subject: Subject, work: Work) -> Outcome:
        outcome: Outcome = import_module(f"weightfeat.behaviour.{module}").score(subject, work)
        return outcome

    return score


METHODS: dict[str, Method] = {
    "abs": _lazy("abs_method"),
    "neural-cleanse": _lazy("neural_cleanse"),
    "strip": _lazy("strip"),
}
