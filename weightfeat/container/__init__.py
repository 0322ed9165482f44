"""The TrojAI container: flags of every round in, an exit code and whole files out."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence

from weightfeat.container.flags import parse
from weightfeat.errors import WeightfeatError, one_line

__all__ = ["main", "run"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the container's command line; 0 for success, 2 for bad input, 1 for anything unforeseen."""
    return run(lambda: _dispatch(sys.argv[1:] if argv is None else argv))


def run(action: Callable[[], int]) -> int:
    """Turn what `action` raises into one line on stderr and an exit code.

    A traceback is shown under WEIGHTFEAT_DEBUG=1 only: the people who read it are the program's, not its users.
    """
    try:
        return action()
    except WeightfeatError as error:
        return _refused(error, str(error), error.exit_code)
    except KeyboardInterrupt as error:
        return _refused(error, "interrupted", 130)
    except Exception as error:
        return _refused(error, f"unforeseen {type(error).__name__}: {error}", 1)


def _refused(error: BaseException, line: str, code: int) -> int:
    if os.environ.get("WEIGHTFEAT_DEBUG") == "1":
        traceback.print_exception(error)
    print(f"error: {one_line(line)}", file=sys.stderr, flush=True)
    return code


def log(line: str) -> None:
    """One line to stderr: the only account of a run that its owners get to see."""
    print(f"weightfeat: {one_line(line)}", file=sys.stderr, flush=True)


def _dispatch(argv: Sequence[str]) -> int:
    from weightfeat.container import modes

    request = parse(argv)
    if request.unknown:
        log(f"warning: unknown arguments left aside: {' '.join(request.unknown)}")
    (modes.configure if request.mode == "configure" else modes.infer)(request, log)
    return 0
