"""A model within a compressed stream or an archive of several files: found, unpacked into a file of its own, handed on.

Which of an archive's files is the model is not guessed at: there must be one alone.
"""

from __future__ import annotations

import mmap
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import IO, Any

from weightfeat.checkpoint import streams
from weightfeat.checkpoint.faults import Abuse, Malformed, Unsupported
from weightfeat.checkpoint.streams import Budget
from weightfeat.checkpoint.zip_archive import DEFLATED, STORED, Record

_MOST_MEMBERS = 10_000
_SHOWN = 4
# torch 0.1 wrote tar archives of these, and torch.load still takes every tar for one.
_TORCH_TAR = frozenset({"sys_info", "pickle", "tensors", "storages"})


@dataclass(frozen=True)
class Member:
    """A file in an archive: its path there, and what gives its first bytes and what writes it out."""

    name: str
    head: Callable[[], bytes]
    size: int
    copy: Callable[[IO[bytes], Budget], None]


@dataclass(frozen=True)
class Wrapped:
    """A file that wraps another: what as ("gzip"), the other's name where it has one, and what writes it out."""

    kind: str
    name: str
    copy: Callable[[IO[bytes], Budget], None]

    @classmethod
    def of(cls, kind: str, member: Member) -> Wrapped:
        """A member of an archive."""
        return cls(kind, member.name, member.copy)


@dataclass(frozen=True)
class Unpacked:
    """A wrapped file in a place of its own: there for as long as `unpacked` is open, its bytes for longer."""

    path: Path
    data: memoryview


@contextmanager
def unpacked(copy: Callable[[IO[bytes], Budget], None], budget: Budget) -> Iterator[Unpacked]:
    """What `copy` writes, as a mapped temporary file; raises Malformed where nothing is written or it cannot be."""
    # A folder of its own: what names other files beside it finds none.
    with tempfile.TemporaryDirectory(prefix="weightfeat-") as folder:
        path = Path(folder) / "model"
        with open(path, "w+b") as file:
            try:
                copy(file, budget)
                file.flush()
            except OSError as error:
                raise Unsupported(f"it cannot be unpacked into {folder} ({error.strerror})") from None
            if file.tell() == 0:
                raise Malformed("it unpacks to nothing")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        yield Unpacked(path, data)


def chosen(members: Sequence[Member], is_model: Callable[[bytes, int], bool]) -> Member:
    """The one file that is a model; raises Unsupported, with their names, where none is or several are."""
    models = [
        member for member in members if not _is_litter(member.name) and is_model(member.head(), member.size)
    ]
    if len(models) == 1:
        return models[0]
    if models:
        raise Unsupported(f"it holds several models ({_shown(models)})", "unpack it and give one of them")
    raise Unsupported(
        f"none of the {len(members)} files in it is a model ({_shown(members)})", "give a model file"
    )


def _shown(members: Sequence[Member]) -> str:
    """The first few names."""
    names = ", ".join(repr(member.name) for member in members[:_SHOWN]) or "nothing"
    return f"{names} and {len(members) - _SHOWN} more" if len(members) > _SHOWN else names


def of_zip(data: memoryview, records: Sequence[Record], head_bytes: int) -> list[Member]:
    """The files of a zip archive; those packed otherwise than Python packs them have no first bytes.

    Raises Abuse where there are too many.
    """
    if len(records) > _MOST_MEMBERS:
        raise Abuse(f"it has more than {_MOST_MEMBERS:,} members")
    return [_record(data, record, head_bytes) for record in records if not record.name.endswith("/")]


def _record(data: memoryview, record: Record, head_bytes: int) -> Member:
    raw = data[record.start : record.start + record.size]

    def head() -> bytes:
        if record.method == STORED:
            return bytes(raw[:head_bytes])
        return streams.beginning(raw, head_bytes) if record.method == DEFLATED else b""

    def copy(out: IO[bytes], budget: Budget) -> None:
        budget.spend(0 if record.method == DEFLATED else record.size)
        if record.method == DEFLATED:
            streams.inflate(raw, out, budget)
        else:
            out.write(raw)
        _check(out, record)

    return Member(record.name, head, record.unpacked, copy)


def _check(out: IO[bytes], record: Record) -> None:
    """Raises Malformed unless what came out is what the directory says."""
    out.flush()
    size = out.tell()
    if size != record.unpacked:
        raise Malformed(f"'{record.name}' unpacks to {size:,} bytes, not {record.unpacked:,}")
    if size and zlib.crc32(mmap.mmap(out.fileno(), 0, access=mmap.ACCESS_READ)) != record.crc:
        raise Malformed(f"the checksum of '{record.name}' in the archive is wrong")


def of_tar(data: memoryview, head_bytes: int) -> list[Member]:
    """The plain files of a tar archive.

    Raises Malformed for a damaged one, Abuse for one of too many members or of two of one name, Unsupported for torch
    0.1's own.
    """
    members: dict[str, Member] = {}
    try:
        with tarfile.open(fileobj=_View(data), mode="r:") as archive:
            for number, entry in enumerate(archive):
                if number >= _MOST_MEMBERS:
                    raise Abuse(f"it has more than {_MOST_MEMBERS:,} members")
                if entry.name in members:
                    raise Abuse(f"it has two members called {entry.name!r}")
                if entry.isreg() and not entry.issparse():
                    members[entry.name] = _entry(data, entry, head_bytes)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as error:
        raise Malformed(f"it is a damaged tar archive ({error})") from None
    if members.keys() >= _TORCH_TAR:
        raise Unsupported("it is a tar archive, as torch 0.1 wrote, which is not read")
    return list(members.values())


def _entry(data: memoryview, entry: tarfile.TarInfo, head_bytes: int) -> Member:
    raw = data[entry.offset_data : entry.offset_data + entry.size]
    if len(raw) != entry.size:
        raise Malformed(f"the archive ends within {entry.name!r}")

    def copy(out: IO[bytes], budget: Budget) -> None:
        budget.spend(len(raw))
        out.write(raw)

    return Member(entry.name, lambda: bytes(raw[:head_bytes]), entry.size, copy)


class _View(RawIOBase):
    """A mapped file as tarfile wants one."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        taken = self._data[self._at : self._at + len(buffer)]
        buffer[: len(taken)] = taken
        self._at += len(taken)
        return len(taken)


def _is_litter(name: str) -> bool:
    """What macOS leaves beside files."""
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1].startswith("._")
