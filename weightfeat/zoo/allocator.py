"""Memory that a training step frees is kept for the next one."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Ask glibc, where it is there, to map no large block by itself and to give nothing back before the process ends.

    Else each large tensor is mapped anew at every step, and its pages are filled with zeros one fault at a time: a
    third of a VGG's step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
