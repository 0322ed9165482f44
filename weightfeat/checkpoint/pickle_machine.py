"""A pickle machine that only takes notes: every opcode of protocols 0 to 5, and not one of them runs anything.

GLOBAL becomes a name, REDUCE and its kin become recorded calls that are never made, BUILD becomes recorded
state. The stack, its marks and the memo are plain lists and a dict; nothing recurses, and one budget of steps
bounds time and memory. The opcodes are those of CPython's Lib/pickletools.py, the stack rules those of
Modules/_pickle.c, because that is the machine a victim would run.
"""

from __future__ import annotations

from weightfeat.checkpoint.faults import Malformed
from weightfeat.checkpoint.machine import Machine, Trace
from weightfeat.checkpoint.opcodes import OPERATIONS


def run(data: memoryview, start: int, trace: Trace) -> tuple[object, int]:
    """Read one pickle from `data[start:]`; returns its value and where the next byte after STOP lies.

    Raises Malformed for what the real machine would refuse too, and Abuse where a budget is exceeded.
    """
    machine = Machine(data, start, trace)
    while not machine.stopped:
        code = machine.take(1)[0]
        trace.spend(1)
        operation = OPERATIONS.get(code)
        if operation is None:
            raise Malformed(f"byte {machine.position - 1} is no pickle instruction (0x{code:02x})")
        operation(machine)
    return machine.pop(), machine.position
