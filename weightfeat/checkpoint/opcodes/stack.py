"""Opcodes of framing, of the stack, and of the memo that shares values."""

from __future__ import annotations

from collections.abc import Callable

from weightfeat.checkpoint.faults import Malformed
from weightfeat.checkpoint.machine import Machine
from weightfeat.checkpoint.opcodes.numbers import integer
from weightfeat.checkpoint.opcodes.registry import OPERATIONS, U1, U4, U8, on

_HIGHEST_PROTOCOL = 5


@on(b"\x80")
def _proto(m: Machine) -> None:
    if m.unpack(U1) > _HIGHEST_PROTOCOL:
        raise Malformed(f"its pickle claims a protocol above {_HIGHEST_PROTOCOL}")


@on(b"\x95")
def _frame(m: Machine) -> None:
    if m.unpack(U8) > len(m.data) - m.position:
        raise Malformed("a frame of its pickle reaches past the end")


@on(b".")
def _stop(m: Machine) -> None:
    m.stopped = True


@on(b"(")
def _mark(m: Machine) -> None:
    m.marks.append(len(m.stack))


@on(b"0")
def _pop(m: Machine) -> None:
    if m.marks and m.marks[-1] == len(m.stack):
        m.marks.pop()
    else:
        m.pop()


@on(b"1")
def _pop_mark(m: Machine) -> None:
    m.pop_mark()


@on(b"2")
def _dup(m: Machine) -> None:
    m.push(m.top())


def _puts(code: bytes, index: Callable[[Machine], int]) -> None:
    def operation(m: Machine) -> None:
        m.memo[index(m)] = m.top()

    OPERATIONS[code[0]] = operation


def _gets(code: bytes, index: Callable[[Machine], int]) -> None:
    def operation(m: Machine) -> None:
        at = index(m)
        if at not in m.memo:
            raise Malformed("its pickle recalls something it never stored")
        m.push(m.memo[at])

    OPERATIONS[code[0]] = operation


_puts(b"p", lambda m: integer(m.line()))
_puts(b"q", lambda m: m.unpack(U1))
_puts(b"r", lambda m: m.unpack(U4))
_puts(b"\x94", lambda m: len(m.memo))
_gets(b"g", lambda m: integer(m.line()))
_gets(b"h", lambda m: m.unpack(U1))
_gets(b"j", lambda m: m.unpack(U4))
