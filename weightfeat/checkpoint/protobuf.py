"""The wire format of protocol buffers: fields one by one, of bytes that may be anyone's, without the library.

Nothing is decoded that is not asked for, nothing recurses, and whoever calls bounds how many fields there may be.
Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_MASK = (1 << 64) - 1


class WireError(Exception):
    """The bytes are no protocol buffer, or have more fields than were allowed."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `value` is its number where it is a varint, else its bytes, which are a view."""

    number: int
    wire: int
    value: int | memoryview


def fields(data: memoryview, *, most: int, cut: bool = False) -> Iterator[Field]:
    """The fields of one message in their order.

    Raises WireError at the first byte that is none, and past `most`. Of a message that is `cut`, of which only the
    beginning is at hand, the field that reaches past it is given as far as it goes, and is the last.
    """
    at, count = 0, 0
    while at < len(data):
        count += 1
        if count > most:
            raise WireError(f"a message has more than {most:,} fields")
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise WireError(f"a field has the number {number}")
        if wire == VARINT:
            value, at = varint(data, at)
            yield Field(number, wire, value)
            continue
        if wire == BYTES:
            length, at = varint(data, at)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise WireError(f"a field has the wire type {wire}")
        if length > len(data) - at and not cut:
            raise WireError("a field reaches past the end of its message")
        yield Field(number, wire, data[at : at + length])
        at += length


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The unsigned number that begins at `at`, and where the next byte lies."""
    value = 0
    for place in range(_LONGEST_VARINT):
        if at + place >= len(data):
            raise WireError("a number reaches past the end of its message")
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & _MASK, at + place + 1
    raise WireError("a number has more than ten bytes")


def signed(value: int) -> int:
    """An int64 field's number: negative ones are written as the unsigned of the same bits."""
    return value - (1 << 64) if value >> 63 else value


def packed_varints(data: memoryview) -> NDArray[np.uint64]:
    """All numbers of a packed field at once, (count,); raises WireError."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if raw.size and (ends.size == 0 or ends[-1] != raw.size - 1):
        raise WireError("a number reaches past the end of its message")
    starts = np.concatenate(([0], ends[:-1] + 1)) if ends.size else ends
    lengths = ends - starts + 1
    if lengths.size and lengths.max() > _LONGEST_VARINT:
        raise WireError("a number has more than ten bytes")
    values = np.zeros(ends.size, np.uint64)
    for place in range(int(lengths.max()) if lengths.size else 0):
        reached = lengths > place
        part = (raw[starts[reached] + place] & 0x7F).astype(np.uint64)
        values[reached] |= part << np.uint64(7 * place)
    return values
