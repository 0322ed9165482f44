"""The state of the pickle machine (stack, marks, memo) and the log of all it was asked to do."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from weightfeat.checkpoint.faults import Abuse, Malformed
from weightfeat.checkpoint.nodes import Call, Global, Persistent, Table

# The largest torchvision network pickled whole takes about 0.12 million steps.
MAX_STEPS = 1_000_000
_MAX_LINE = 1 << 20


@dataclass(slots=True)
class Trace:
    """All that a file's pickles asked for, reachable from their result or not, and the steps they took."""

    calls: list[Call] = field(default_factory=list)
    references: list[Global] = field(default_factory=list)
    persistents: list[Persistent] = field(default_factory=list)
    patched: list[tuple[Global, object]] = field(default_factory=list)
    steps: int = 0

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise Abuse(f"its pickle takes more than {MAX_STEPS:,} instructions")

    def absorb(self, inner: Trace) -> None:
        """Add what a nested pickle asked for; its storages stay its own."""
        self.calls += inner.calls
        self.references += inner.references
        self.patched += inner.patched
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
        call = Call(opcode, function, args)
        self.trace.calls.append(call)
        if opcode == "REDUCE":
            _fill(call, self.trace)
        self.push(call)

    def refer(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("its pickle imports something that is no name")
        reference = Global.named(module, name)
        self.trace.references.append(reference)
        self.push(reference)


def _fill(call: Call, trace: Trace) -> None:
    """OrderedDict(pairs), Python 2's spelling, is filled at once: the list of pairs may change later, the dict not.

    Raises Abuse for pairs that Python would find in something else than lists and tuples: what was not understood would
    be in the dict all the same.
    """
    function = call.function
    if not isinstance(function, Global) or function.path not in ("collections.OrderedDict", "builtins.dict"):
        return
    call.table = Table()
    pairs: object = call.args[0] if call.args else ()
    if isinstance(pairs, Table):
        pairs = [*pairs.entries.items(), *(pairs.odd or ())]
    if len(call.args) > 1 or not isinstance(pairs, list | tuple):
        raise Abuse(f"its {function.name} is made of what is no list of pairs")
    trace.spend(len(pairs))
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Abuse(f"its {function.name} is made of what is no list of pairs")
        call.table.put(pair[0], pair[1])
