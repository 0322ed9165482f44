"""What every program of the package is at its edges: lines on stderr, an exit code, idle threads that sleep."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from weightfeat.errors import WeightfeatError, one_line


def run(action: Callable[[], int], *, level: int = logging.INFO) -> int:
    """The exit code of `action`; its log from `level` up goes to stderr, and what it raises becomes one line there.

    0 for success, 2 for bad input, 130 for an interruption, 1 for anything unforeseen. A traceback is shown under
    WEIGHTFEAT_DEBUG=1 only: the people who read it are the program's, not its users.
    """
    with _log_on_stderr(level):
        try:
            return action()
        except WeightfeatError as error:
            return _refused(error, str(error), error.exit_code)
        except KeyboardInterrupt as error:
            return _refused(error, "interrupted", 130)
        except Exception as error:
            return _refused(error, f"unforeseen {type(error).__name__}: {error}", 1)


def wait_quietly() -> None:
    """Let OpenMP's idle threads sleep instead of spin; must run before torch is imported.

    On a busy machine spinning threads keep the working one off the processor: a resnet50 then takes three times
    as long. A value set by the user stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _refused(error: BaseException, line: str, code: int) -> int:
    if os.environ.get("WEIGHTFEAT_DEBUG") == "1":
        traceback.print_exception(error)
    print(f"error: {one_line(line)}", file=sys.stderr, flush=True)
    return code


class _Lines(logging.Handler):
    """One printable line a record, on what stderr is at that time."""

    def emit(self, record: logging.LogRecord) -> None:
        warning = "warning: " if record.levelno >= logging.WARNING else ""
        print(f"weightfeat: {one_line(warning + record.getMessage())}", file=sys.stderr, flush=True)


@contextmanager
def _log_on_stderr(level: int) -> Iterator[None]:
    """Show what the package logs until the program's end; who imports the package decides that without us."""
    logger, lines = logging.getLogger("weightfeat"), _Lines()
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(lines)
