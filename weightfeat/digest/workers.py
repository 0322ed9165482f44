"""A layer a thread: on a CPU many layers at once on one thread each beat one layer on many.

An eigensolver meets a barrier at every step, and at a barrier each thread waits for the slowest; layers need no
barriers. On a GPU one thread issues all the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

# Unless told before its first call, MKL lets the alignment of memory decide the order it sums in, and two runs over
# one file would differ in the sixteenth digit: a digest is a function of the file alone.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


@contextmanager
def workers(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """A pool of as many threads as torch was given, each computing with one; torch's count is restored after."""
    threads = torch.get_num_threads()
    count = threads if device.type == "cpu" else 1
    # New threads take over the process's setting when they first compute, so it is changed before they exist.
    torch.set_num_threads(1 if count > 1 else threads)
    try:
        with ThreadPoolExecutor(count, thread_name_prefix="digest") as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
