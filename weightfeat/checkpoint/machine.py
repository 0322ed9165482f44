"""The state of the pickle machine (stack, marks, memo) and the log of all it was asked to do."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from weightfeat.checkpoint.effects import plainly, result_of
from weightfeat.checkpoint.faults import Abuse, Malformed
from weightfeat.checkpoint.nodes import Call, Global, Persistent

# The largest torchvision network pickled whole takes about 0.2 million steps; a million take some two seconds.
MAX_STEPS = 1_000_000
_STEPS_OF_A_CALL = 4
_BYTES_A_STEP = 1 << 10
_LONGEST_NAME = 1000
_MAX_LINE = 1 << 20


@dataclass(slots=True)
class Trace:
    """All that a file's pickles asked for, reachable from their result or not, and the steps they took."""

    calls: list[Call] = field(default_factory=list)
    references: list[Global] = field(default_factory=list)
    persistents: list[Persistent] = field(default_factory=list)
    patched: list[tuple[Global, object]] = field(default_factory=list)
    hooks: list[tuple[object, object]] = field(default_factory=list)
    nested: list[Call] = field(default_factory=list)
    steps: int = 0

    def spend(self, steps: int) -> None:
        """Count what was done: a plain instruction, or an element touched, is a step."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise Abuse(f"its pickles take more than {MAX_STEPS:,} instructions")

    def spend_bytes(self, length: int) -> None:
        """Count bytes that were copied or decoded."""
        self.spend(length // _BYTES_A_STEP)

    def absorb(self, inner: Trace) -> None:
        """Add what a nested pickle asked for; its storages stay its own."""
        self.calls += inner.calls
        self.references += inner.references
        self.patched += inner.patched
        self.hooks += inner.hooks
        self.nested += inner.nested
        self.steps = inner.steps


class Machine:
    """Position, stack, marks and memo of one pickle."""

    def __init__(self, data: memoryview, start: int, trace: Trace) -> None:
        self.data, self.position, self.trace = data, start, trace
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.stopped = False

    def take(self, length: int) -> memoryview:
        end = self.position + length
        if end > len(self.data):
            raise Malformed("its pickle ends too early")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def unpack(self, layout: struct.Struct) -> int:
        value: int = layout.unpack(self.take(layout.size))[0]
        return value

    def line(self) -> bytes:
        window = 256
        while True:
            chunk = bytes(self.data[self.position : self.position + window])
            end = chunk.find(b"\n")
            if end >= 0:
                self.trace.spend_bytes(end)
                self.position += end + 1
                return chunk[:end]
            if len(chunk) < window:
                raise Malformed("its pickle ends within a line")
            if window >= _MAX_LINE:
                raise Abuse(f"its pickle has a line of more than {_MAX_LINE:,} bytes")
            window *= 16

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if len(self.stack) <= self.fence:
            raise Malformed("its pickle takes more from the stack than it put there")
        return self.stack.pop()

    def top(self) -> object:
        if len(self.stack) <= self.fence:
            raise Malformed("its pickle takes more from the stack than it put there")
        return self.stack[-1]

    @property
    def fence(self) -> int:
        return self.marks[-1] if self.marks else 0

    def pop_mark(self) -> list[object]:
        if not self.marks:
            raise Malformed("its pickle has no mark where one is needed")
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def call(self, opcode: str, function: object, args: object) -> None:
        if not isinstance(args, tuple):
            raise Malformed(f"{opcode} has arguments that are no tuple")
        self.trace.spend(_STEPS_OF_A_CALL)
        call = plainly(Call(opcode, function, args))
        self.trace.calls.append(call)
        self.push(result_of(call, self.trace.spend))

    def refer(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("its pickle imports something that is no name")
        if len(module) + len(name) > _LONGEST_NAME:
            raise Abuse(f"its pickle imports a name of {len(module) + len(name):,} characters")
        reference = Global.named(module, name)
        self.trace.references.append(reference)
        self.push(reference)
