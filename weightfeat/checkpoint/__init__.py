"""Model files read without running anything in them: bytes in, named read-only tensors and findings out."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weightfeat.checkpoint.faults import Abuse, Malformed, Unsupported
from weightfeat.checkpoint.formats import HEAD_BYTES, format_of, under
from weightfeat.checkpoint.shards import joined, shards_at
from weightfeat.checkpoint.types import Checkpoint, Finding, StoredTensor
from weightfeat.errors import HostileFile, UnreadableFile, UnsupportedLayout

__all__ = ["Checkpoint", "Finding", "StoredTensor", "read"]

_LARGEST_FILE = 1 << 36
_EXPECTED = "a network saved by torch.save, torch.jit.save, safetensors or Keras (.h5)"


def read(path: Path, *, key: str | None = None) -> Checkpoint:
    """Read a model file of any supported format: no code in it runs, no class is imported, tensors stay mapped.

    Parameters
    ----------
    path : a file; or, of a network in several, their folder or index.
    key : which part of the file is the network, where it holds several: the key it is under ("ema", "nets.best"), or
        what its tensors' names begin with. None: the usual choice, which is said where there was one.

    Raises
    ------
    UnreadableFile : absent, empty, truncated, a directory of no one network, a part missing, no model format at all.
    UnsupportedLayout : a known format without a tensor that can be read, or nothing under the key.
    HostileFile : ambiguous or built to exhaust a reader.

    >>> read(Path("checkpoint.pt"), key="ema").tensors[0].name  # doctest: +SKIP
    'conv1.weight'
    """
    path = Path(path)
    with _said_of(path):
        shards = shards_at(path)
    if shards is None:
        return _read_file(path, key)
    with _said_of(path):
        return joined(path, [_read_file(file, None) for file in shards.files], shards.promised, key)


def _read_file(path: Path, key: str | None) -> Checkpoint:
    data, digest = _mapped(path)
    with _said_of(path):
        known = format_of(bytes(data[:HEAD_BYTES]), len(data))
        if key is None:
            contents = known.read(path, data)
        elif known.read_key is not None:
            contents = known.read_key(path, data, key)
        else:
            contents = under(known.read(path, data), key)
    return Checkpoint(
        path=path,
        format=contents.format,
        sha256=digest,
        tensors=contents.tensors,
        ordered=contents.ordered,
        module_types=contents.module_types,
        findings=contents.findings,
    )


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    """Turns what can go wrong inside a file into the error a user sees."""
    try:
        yield
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


def _mapped(path: Path) -> tuple[memoryview, str]:
    """A file's content, mapped read-only, and its sha256."""
    try:
        size = _checked_size(path)
        with open(path, "rb", buffering=0) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)), digest
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path, a file that shrinks
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFile(
            f"cannot be read ({reason})",
            where=path,
            expected="a readable model file",
            remedy="give another path",
        ) from None


def _checked_size(path: Path) -> int:
    """Bytes of a regular file, known before it is opened: opening a pipe would wait for ever."""
    status = os.stat(path)
    what = None
    if stat.S_ISDIR(status.st_mode):
        what = "is a directory"
    elif not stat.S_ISREG(status.st_mode):
        what = "is no regular file"
    elif status.st_size == 0:
        what = "is an empty file"
    if what is not None:
        raise UnreadableFile(what, where=path, expected=_EXPECTED, remedy="give the path of a model file")
    if status.st_size > _LARGEST_FILE:
        raise HostileFile(
            f"has {status.st_size:,} bytes",
            where=path,
            expected=f"at most {_LARGEST_FILE:,} bytes",
            remedy="give the path of one network's weights",
        )
    return status.st_size
