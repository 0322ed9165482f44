"""The opcodes that make plain values: numbers, text, containers, and the memo that shares them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from weightfeat.checkpoint.faults import Abuse, Malformed
from weightfeat.checkpoint.machine import Machine
from weightfeat.checkpoint.nodes import Bag, Call, Table

_HIGHEST_PROTOCOL = 5
_MAX_INTEGER_BYTES = 1024
_MAX_TEXT = 1 << 24

Operation = Callable[[Machine], None]
OPERATIONS: dict[int, Operation] = {}


def on(*codes: bytes) -> Callable[[Operation], Operation]:
    def register(operation: Operation) -> Operation:
        for code in codes:
            OPERATIONS[code[0]] = operation
        return operation

    return register


def _constant(code: bytes, make: Callable[[], object]) -> None:
    OPERATIONS[code[0]] = lambda m: m.push(make())


for _code, _make in (
    (b"N", lambda: None),
    (b"\x88", lambda: True),
    (b"\x89", lambda: False),
    (b")", tuple),
    (b"]", list),
    (b"}", Table),
    (b"\x8f", Bag),
):
    _constant(_code, _make)

U1, U2, I4, U4, U8 = (struct.Struct(layout) for layout in ("<B", "<H", "<i", "<I", "<Q"))
_F8 = struct.Struct(">d")


# Framing and the stack


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


# Numbers


@on(b"I")
def _int(m: Machine) -> None:
    text = m.line()
    m.push(text == b"01" if text in (b"00", b"01") else _integer(text))


@on(b"L")
def _long(m: Machine) -> None:
    m.push(_integer(m.line().removesuffix(b"L")))


def _integer(text: bytes) -> int:
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


# Text and bytes


def _text(code: bytes, layout: struct.Struct) -> None:
    def operation(m: Machine) -> None:
        length = m.unpack(layout)
        raw = m.take(length)
        if length > _MAX_TEXT:
            raise Abuse(f"its pickle has a text of {length:,} bytes")
        m.push(decode(bytes(raw)))

    OPERATIONS[code[0]] = operation


def decode(raw: bytes) -> str:
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


# Containers


@on(b"t")
def _tuple(m: Machine) -> None:
    m.push(tuple(m.pop_mark()))


def _short_tuple(code: bytes, length: int) -> None:
    def operation(m: Machine) -> None:
        items = [m.pop() for _ in range(length)]
        m.push(tuple(reversed(items)))

    OPERATIONS[code[0]] = operation


for _code, _length in ((b"\x85", 1), (b"\x86", 2), (b"\x87", 3)):
    _short_tuple(_code, _length)


@on(b"l")
def _list(m: Machine) -> None:
    m.push(m.pop_mark())


@on(b"d")
def _dict(m: Machine) -> None:
    table = Table()
    _put_all(table, m.pop_mark())
    m.push(table)


@on(b"\x91")
def _frozenset(m: Machine) -> None:
    m.push(Bag(m.pop_mark()))


@on(b"a")
def _append(m: Machine) -> None:
    item = m.pop()
    _extend(m.top(), [item])


@on(b"e", b"\x90")
def _appends(m: Machine) -> None:
    items = m.pop_mark()
    _extend(m.top(), items)


def _extend(target: object, items: list[object]) -> None:
    if isinstance(target, list):
        target.extend(items)
    elif isinstance(target, Bag):
        target.items.extend(items)
    elif isinstance(target, Call):
        target.items = [] if target.items is None else target.items
        target.items.extend(items)
    else:
        raise Malformed("its pickle appends to something that is no list")


@on(b"s")
def _setitem(m: Machine) -> None:
    value, key = m.pop(), m.pop()
    _put_all(_table_of(m.top()), [key, value])


@on(b"u")
def _setitems(m: Machine) -> None:
    items = m.pop_mark()
    _put_all(_table_of(m.top()), items)


def _table_of(target: object) -> Table:
    if isinstance(target, Table):
        return target
    if isinstance(target, Call):
        target.table = target.table or Table()
        return target.table
    raise Malformed("its pickle sets an item of something that is no dict")


def _put_all(table: Table, items: list[object]) -> None:
    if len(items) % 2:
        raise Malformed("its pickle has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        table.put(key, value)


# The memo


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


_puts(b"p", lambda m: _integer(m.line()))
_puts(b"q", lambda m: m.unpack(U1))
_puts(b"r", lambda m: m.unpack(U4))
_puts(b"\x94", lambda m: len(m.memo))
_gets(b"g", lambda m: _integer(m.line()))
_gets(b"h", lambda m: m.unpack(U1))
_gets(b"j", lambda m: m.unpack(U4))
