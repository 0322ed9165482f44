"""Opcodes of text, bytes and buffers."""

from __future__ import annotations

import re
import struct

from weightfeat.checkpoint.faults import Abuse, Malformed
from weightfeat.checkpoint.machine import Machine
from weightfeat.checkpoint.opcodes.registry import OPERATIONS, U1, U4, U8, on

_MAX_TEXT = 1 << 24


def _text(code: bytes, layout: struct.Struct) -> None:
    def operation(m: Machine) -> None:
        length = m.unpack(layout)
        raw = m.take(length)
        if length > _MAX_TEXT:
            raise Abuse(f"its pickle has a text of {length:,} bytes")
        m.trace.spend_bytes(length)
        m.push(decode(bytes(raw)))

    OPERATIONS[code[0]] = operation


def decode(raw: bytes) -> str:
    """Text as the real machine reads it, and as Latin-1 where it would refuse: names must not be lost."""
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # Python 2 strings


for _code, _layout in ((b"X", U4), (b"\x8c", U1), (b"\x8d", U8), (b"T", U4), (b"U", U1)):
    _text(_code, _layout)


def _blob(code: bytes, layout: struct.Struct) -> None:
    # A view, not a copy: however long, it costs nothing.
    OPERATIONS[code[0]] = lambda m: m.push(m.take(m.unpack(layout)))


for _code, _layout in ((b"B", U4), (b"C", U1), (b"\x8e", U8), (b"\x96", U8)):
    _blob(_code, _layout)


@on(b"V")
def _unicode(m: Machine) -> None:
    try:
        m.push(m.line().decode("raw-unicode-escape"))
    except UnicodeDecodeError:
        raise Malformed("its pickle has a text with a broken escape") from None


_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


@on(b"S")
def _string(m: Machine) -> None:
    text = m.line()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise Malformed("its pickle has a text without its quotes")
    m.push(decode(_ESCAPE.sub(_unescape, text[1:-1])))


def _unescape(match: re.Match[bytes]) -> bytes:
    body = match.group(1)
    if body[:1] == b"x" and len(body) == 3:
        return bytes([int(body[1:], 16)])
    if body.isdigit() and body[:1] in b"01234567":
        return bytes([int(body, 8) & 0xFF])
    return _ESCAPED.get(body, body)


@on(b"\x97")
def _next_buffer(m: Machine) -> None:
    raise Malformed("its pickle wants a buffer that is not in the file")


@on(b"\x98")
def _readonly_buffer(m: Machine) -> None:
    m.top()
