"""Model files read without running anything in them: bytes in, named read-only tensors and findings out."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from io import FileIO
from pathlib import Path

from weightfeat.checkpoint.faults import Abuse, Malformed, Unsupported
from weightfeat.checkpoint.formats import HEAD_BYTES, Contents, format_of
from weightfeat.checkpoint.types import Checkpoint, Finding, StoredTensor
from weightfeat.errors import HostileFile, UnreadableFile, UnsupportedLayout

__all__ = ["Checkpoint", "Finding", "StoredTensor", "read"]

_LARGEST_FILE = 1 << 36
_EXPECTED = "a network saved by torch.save, torch.jit.save or safetensors"


def read(path: Path) -> Checkpoint:
    """Read a model file of any supported format: no code in it runs, no class is imported, tensors stay mapped.

    Raises
    ------
    UnreadableFile : absent, empty, truncated, a directory, no model format at all.
    UnsupportedLayout : a known format without a tensor that can be read.
    HostileFile : ambiguous or built to exhaust a reader.
    """
    path = Path(path)
    with _opened(path) as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        contents = _contents(path, data)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Checkpoint(
        path=path,
        format=contents.format,
        sha256=digest,
        tensors=contents.tensors,
        ordered=contents.ordered,
        module_types=contents.module_types,
        findings=contents.findings,
    )


def _contents(path: Path, data: memoryview) -> Contents:
    try:
        return format_of(bytes(data[:HEAD_BYTES]), len(data)).read(path, data)
    except Malformed as fault:
        raise UnreadableFile(
            str(fault), where=path, expected=_EXPECTED, remedy="save it again or fetch a whole copy"
        ) from None
    except Unsupported as fault:
        raise UnsupportedLayout(
            str(fault), where=path, expected=_EXPECTED, remedy="save its state_dict with torch.save"
        ) from None
    except Abuse as fault:
        raise HostileFile(
            str(fault),
            where=path,
            expected=_EXPECTED,
            remedy="do not load this file; get it from a source you trust",
        ) from None


def _opened(path: Path) -> FileIO:
    """The file, known to be a regular one of sane size before anything is read (opening a pipe would wait)."""
    remedy = "give the path of a model file"
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableFile("is a directory", where=path, expected="a model file", remedy=remedy)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile("is no regular file", where=path, expected="a model file", remedy=remedy)
        if status.st_size == 0:
            raise UnreadableFile("file is empty", where=path, expected=_EXPECTED, remedy="fetch a whole copy")
        if status.st_size > _LARGEST_FILE:
            what = f"file has {status.st_size:,} bytes"
            raise HostileFile(what, where=path, expected=f"at most {_LARGEST_FILE:,} bytes", remedy=remedy)
        return FileIO(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFile(
            f"cannot be opened ({reason})", where=path, expected="a readable model file", remedy=remedy
        ) from None
