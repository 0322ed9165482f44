"""Which operation a byte stands for, and the layouts of the numbers that follow one."""

from __future__ import annotations

import struct
from collections.abc import Callable

from weightfeat.checkpoint.machine import Machine

Operation = Callable[[Machine], None]
OPERATIONS: dict[int, Operation] = {}
"""Filled by the modules of this package."""

U1, U2, I4, U4, U8 = (struct.Struct(layout) for layout in ("<B", "<H", "<i", "<I", "<Q"))


def on(*codes: bytes) -> Callable[[Operation], Operation]:
    """Register the decorated operation for these bytes."""

    def register(operation: Operation) -> Operation:
        for code in codes:
            OPERATIONS[code[0]] = operation
        return operation

    return register
