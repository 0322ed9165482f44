"""Opcodes of numbers."""

from __future__ import annotations

import struct

from weightfeat.checkpoint.faults import Abuse, Malformed
from weightfeat.checkpoint.machine import Machine
from weightfeat.checkpoint.opcodes.registry import I4, OPERATIONS, U1, U2, U4, on

_MAX_INTEGER_BYTES = 1024
_F8 = struct.Struct(">d")


@on(b"I")
def _int(m: Machine) -> None:
    text = m.line()
    m.push(text == b"01" if text in (b"00", b"01") else integer(text))


@on(b"L")
def _long(m: Machine) -> None:
    m.push(integer(m.line().removesuffix(b"L")))


def integer(text: bytes) -> int:
    """An integer written out; protocol 0 numbers the memo so too."""
    if len(text) > _MAX_INTEGER_BYTES:
        raise Abuse("its pickle has an integer of absurd length")
    try:
        return int(text, 0)
    except ValueError:
        raise Malformed("its pickle has a number that is none") from None


@on(b"F")
def _float(m: Machine) -> None:
    try:
        m.push(float(m.line()))
    except ValueError:
        raise Malformed("its pickle has a number that is none") from None


@on(b"G")
def _binfloat(m: Machine) -> None:
    m.push(_F8.unpack(m.take(8))[0])


def _fixed(code: bytes, layout: struct.Struct) -> None:
    OPERATIONS[code[0]] = lambda m: m.push(m.unpack(layout))


for _code, _layout in ((b"K", U1), (b"M", U2), (b"J", I4)):
    _fixed(_code, _layout)


def _counted_integer(code: bytes, layout: struct.Struct) -> None:
    def operation(m: Machine) -> None:
        length = m.unpack(layout)
        if length > _MAX_INTEGER_BYTES:
            raise Abuse("its pickle has an integer of absurd length")
        m.push(int.from_bytes(m.take(length), "little", signed=True))

    OPERATIONS[code[0]] = operation


for _code, _layout in ((b"\x8a", U1), (b"\x8b", U4)):
    _counted_integer(_code, _layout)
