"""Worker processes that end with the process that started them.

A pool ends its workers when it is closed. Where the process that holds it is killed, nobody closes it: its workers go
on with what they were handed, for minutes, and what they then write is nobody's.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

_LOOK = 0.5  # seconds


def ending_with_this(*, deaf: bool = False) -> dict[str, Any]:
    """Keywords for a pool (concurrent.futures' or joblib's loky) whose workers are to end with this process.

    Ctrl-C reaches workers as well. Where this process ends them itself when it is interrupted they may be `deaf` to it,
    and say nothing of it.

    >>> ProcessPoolExecutor(2, **ending_with_this())  # doctest: +SKIP
    """
    return {"initializer": _end_with, "initargs": (os.getpid(), deaf)}


def _end_with(parent: int, deaf: bool) -> None:
    """Called first in every worker. Told the parent's number: it may be gone before a worker has begun."""
    if deaf:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
