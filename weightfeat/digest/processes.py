"""Worker processes that end with the process that started them.

A pool ends its workers when it is closed. Where the process that holds it is killed, nobody closes it: its workers go
on with what they were handed, for minutes, and what they then write is nobody's.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

_LOOK = 0.5  # seconds


def ending_with_this() -> dict[str, Any]:
    """Keywords for a pool (concurrent.futures' or joblib's loky) whose workers are to end with this process.

    >>> ProcessPoolExecutor(2, **ending_with_this())  # doctest: +SKIP
    """
    return {"initializer": _end_with, "initargs": (os.getpid(),)}


def _end_with(parent: int) -> None:
    """Called first in every worker. Told the parent's number: it may be gone before a worker has begun."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
