"""A layer a thread: on a processor many layers at once on one thread each beat one layer on many.

An eigensolver meets a barrier at every step, and at a barrier each thread waits for the slowest; layers need no
barriers. On a GPU one thread issues all the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

from weightfeat.digest.place import Place, cores

# Unless told before its first call, MKL (torch's, and some builds of numpy) lets the alignment of memory decide the
# order it sums in, and two runs over one file would differ in the sixteenth digit: a digest is a function of the file
# alone.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


@contextmanager
def workers(place: Place, threads: int = 0) -> Iterator[ThreadPoolExecutor]:
    """A pool of `threads` (0: one a core), each computing with one; on a GPU a pool of one."""
    count = (threads or cores()) if place.is_host else 1
    with _BLAS.single_threaded(), ThreadPoolExecutor(count, thread_name_prefix="digest") as pool:
        yield pool


class _Blas:
    """BLAS's own threads are off while any digest is under way in this process, and restored after the last."""

    def __init__(self) -> None:
        self._lock, self._under_way = Lock(), 0
        self._limits: list[Any] = []

    @contextmanager
    def single_threaded(self) -> Iterator[None]:
        from threadpoolctl import OpenBLASController, threadpool_limits

        # threadpoolctl heeds only the thread that set a limit first; here any thread may begin, and any be the last.
        take_over = partial(OpenBLASController.clear_controlling_thread, force=True)
        with self._lock:
            take_over()
            # Anew every time: another BLAS (scipy's) may have been loaded since.
            self._limits.append(threadpool_limits(1, user_api="blas"))
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                take_over()
                while self._limits and not self._under_way:
                    self._limits.pop().restore_original_limits()
                take_over()


_BLAS = _Blas()
