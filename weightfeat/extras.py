"""Packages that a scan does without: what needs one says so in a line, and how to install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from weightfeat.errors import WeightfeatError

__all__ = ["NotInstalled", "needs"]


class NotInstalled(WeightfeatError):
    """A package of one of the project's extras is absent."""


@contextmanager
def needs(extra: str, what: object) -> Iterator[None]:
    """Everything imported inside is installed by `pip install 'weightfeat[extra]'`; `what` asked for it.

    Raises NotInstalled where a package is absent.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        if package == "weightfeat":
            raise  # a mistake of ours is no package that is missing
        raise NotInstalled(
            f"{package} is not installed",
            where=what,
            expected=f"the packages of the extra {extra}",
            remedy=f"pip install 'weightfeat[{extra}]'",
        ) from error
