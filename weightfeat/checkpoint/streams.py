"""Compressed streams (gzip, bz2, xz, and deflate within zip archives) unpacked into a file, a piece at a time.

No stream is trusted with how much it will give: what has come out is counted against one budget for the whole file,
however deep its wrappings.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Protocol

from weightfeat.checkpoint.faults import Abuse, Malformed, Unsupported

# Trained weights hardly compress; these leave room for pruned and rounded ones and for small files of anything.
_EXPANSION = 10
_ALWAYS_EXPANDED = 32 << 20
_CHUNK = 1 << 16
_OUTPUT = 1 << 20
# xz's own largest preset takes 65 MiB.
_DICTIONARY = 80 << 20
_FEWEST_STREAMS = 1000
_STREAM = 1 << 12

GZIP, BZ2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"


class _Stream(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Inflater:
    """zlib's decompressor with the manners of the others."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)
        self._held = b""

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._held

    def decompress(self, data: bytes, max_length: int) -> bytes:
        given = self._stream.decompress(self._held + data, max_length)
        self._held = self._stream.unconsumed_tail
        return given


@dataclass
class Budget:
    """How many bytes may still be unpacked for one file, in all its wrappings together."""

    left: int

    @classmethod
    def of(cls, size: int) -> Budget:
        """For a file of this many bytes."""
        return cls(_ALWAYS_EXPANDED + _EXPANSION * size)

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise Abuse(
                f"it unpacks to more than {_ALWAYS_EXPANDED >> 20} MiB and {_EXPANSION} times its own size"
            )


def _opened(kind: bytes) -> _Stream:
    """A new stream of a kind; some builds of Python lack some of them."""
    try:
        if kind == BZ2:
            import bz2

            return bz2.BZ2Decompressor()
        if kind == XZ:
            import lzma

            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DICTIONARY)
    except ImportError as error:
        raise Unsupported(
            f"it is compressed, and this Python has no {error.name}", "decompress it first"
        ) from None
    return _Inflater(31)


def unpack(data: memoryview, kind: bytes, out: IO[bytes], budget: Budget) -> None:
    """Write what a file of one or more streams of a kind unpacks to; kinds are this module's constants.

    Raises Malformed for a damaged or truncated stream or what is none behind it, Abuse past the budget.
    """
    at, streams = 0, 0
    while at < len(data):
        if streams and not any(data[at : at + _CHUNK]):  # a tape's padding
            return
        streams += 1
        if streams > _FEWEST_STREAMS + len(data) // _STREAM:
            raise Abuse(f"it is made of more than {streams - 1:,} compressed streams")
        if bytes(data[at : at + len(kind)]) != kind:
            raise Malformed(f"after its compressed stream come {len(data) - at:,} bytes of something else")
        at += _copy(_opened(kind), data[at:], out, budget)


def inflate(data: memoryview, out: IO[bytes], budget: Budget) -> None:
    """Write what one bare deflate stream, as in a zip archive, unpacks to; raises as `unpack`."""
    if _copy(_Inflater(-15), data, out, budget) != len(data):
        raise Malformed("a compressed record ends before its last byte")


def beginning(data: memoryview, length: int) -> bytes:
    """The first `length` bytes of a bare deflate stream, or as many as there are before it ends or breaks."""
    try:
        return zlib.decompressobj(-15).decompress(bytes(data[:_CHUNK]), length)
    except zlib.error:
        return b""


def _copy(stream: _Stream, data: memoryview, out: IO[bytes], budget: Budget) -> int:
    """One stream to its end; returns how many bytes of `data` it took."""
    taken = 0
    for piece in _pieces(stream, data):
        taken += piece[0]
        budget.spend(len(piece[1]))
        out.write(piece[1])
    return taken - len(stream.unused_data)


def _pieces(stream: _Stream, data: memoryview) -> Iterator[tuple[int, bytes]]:
    """(bytes taken, bytes given), until the stream ends."""
    at = 0
    while not stream.eof:
        chunk = bytes(data[at : at + _CHUNK]) if stream.needs_input else b""
        at += len(chunk)
        try:
            given = stream.decompress(chunk, _OUTPUT)
        except Exception as error:  # each of the three has a class of its own
            raise Malformed(f"its compressed stream is damaged ({error})") from None
        if not given and not chunk and not stream.eof and at >= len(data):
            raise Malformed("its compressed stream is truncated")
        yield len(chunk), given
