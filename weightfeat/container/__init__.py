"""The TrojAI container: flags of every round in, an exit code and whole files out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from weightfeat.commands.program import run
from weightfeat.container.flags import parse

__all__ = ["main"]

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the container's command line; 0 for success, 2 for bad input, 1 for anything unforeseen.

    Every step is told, down to DEBUG: stderr is the only account of a run that a container's owners get to see.
    """
    return run(lambda: _dispatch(sys.argv[1:] if argv is None else argv), level=logging.DEBUG)


def _dispatch(argv: Sequence[str]) -> int:
    from weightfeat.container import modes

    request = parse(argv)
    if request.unknown:
        logger.warning("unknown arguments left aside: %s", " ".join(request.unknown))
    (modes.configure if request.mode == "configure" else modes.infer)(request)
    return 0
