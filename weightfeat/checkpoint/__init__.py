"""Model files read without running anything in them: bytes in, named read-only tensors and findings out."""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weightfeat.checkpoint.adapted import AdaptedFolder, adapted, adapted_at, with_config_beside
from weightfeat.checkpoint.faults import Abuse, Fault, Malformed, Unsupported
from weightfeat.checkpoint.folders import read_folder
from weightfeat.checkpoint.formats import Contents, under
from weightfeat.checkpoint.shards import joined, shards_at
from weightfeat.checkpoint.types import Checkpoint, Finding, StoredTensor
from weightfeat.checkpoint.wrappings import contents_of
from weightfeat.errors import HostileFile, UnreadableFile, UnsupportedLayout, WeightfeatError

__all__ = ["Checkpoint", "Finding", "StoredTensor", "read"]

_LARGEST_FILE = 1 << 36
_EXPECTED = "a network saved by torch (save, jit, export), safetensors, Keras, ONNX or numpy (.npz)"

_ERRORS: dict[type[Fault], tuple[type[WeightfeatError], str]] = {
    Malformed: (UnreadableFile, "save it again or fetch a whole copy"),
    Unsupported: (UnsupportedLayout, "save its state_dict with torch.save"),
    Abuse: (HostileFile, "do not load this file; get it from a source you trust"),
}


def read(path: str | os.PathLike[str], *, key: str | None = None) -> Checkpoint:
    """Read a model file of any supported format: no code in it runs, no class is imported, tensors stay mapped.

    Parameters
    ----------
    path : a file; or, of a network in several, their folder or index; or the folder of a network and its adapter.
    key : which part of the file is the network, where it holds several: the key it is under ("ema", "nets.best"), or
        what its tensors' names begin with. None: the usual choice, which is said where there was one.

    Raises
    ------
    UnreadableFile : absent, empty, truncated, a directory without a model, a part missing, no model format at all.
    UnsupportedLayout : a known format without a tensor that can be read, or nothing under the key.
    HostileFile : ambiguous or built to exhaust a reader.

    >>> checkpoint = weightfeat.read("model.pt")
    >>> checkpoint.format, [tensor.name for tensor in checkpoint.tensors if tensor.shape == (6, 16)]
    ('safetensors', ['8.weight'])
    """
    path = Path(path)
    with _named(path):
        folder = adapted_at(path)
    if folder is not None:
        return _read_adapted(path, folder, key)
    found = _read_network(path, key)
    with _named(path):
        return with_config_beside(found)


def _read_adapted(path: Path, folder: AdaptedFolder, key: str | None) -> Checkpoint:
    base, adapter = _read_network(folder.base, key), _read_one(folder.adapter, None)
    with _named(path):
        return adapted(path, base, adapter, folder.config)


def _read_network(path: Path, key: str | None) -> Checkpoint:
    with _named(path):
        shards = shards_at(path)
    if shards is None:
        return _read_one(path, key)
    with _named(path):
        return joined(path, [_read_one(file, None) for file in shards.files], shards.promised, key)


def _read_one(path: Path, key: str | None) -> Checkpoint:
    contents, digest = _folder(path, key) if path.is_dir() else _file(path, key)
    return Checkpoint(
        path=path,
        format=contents.format,
        sha256=_with_others(digest, contents.beside),
        tensors=contents.tensors,
        ordered=contents.ordered,
        module_types=contents.module_types,
        findings=contents.findings,
    )


def _file(path: Path, key: str | None) -> tuple[Contents, str]:
    data = _mapped(path)
    with _named(path):
        contents = contents_of(path, data, key)
    return contents, hashlib.sha256(data).hexdigest()


def _folder(path: Path, key: str | None) -> tuple[Contents, str]:
    with _named(path):
        folder = read_folder(path)
        contents = folder.contents if key is None else under(folder.contents, key)
        return contents, hashlib.sha256(folder.described).hexdigest()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Faults as the errors a user sees, with the path in them."""
    try:
        yield
    except Fault as fault:
        error, remedy = next(_ERRORS[kind] for kind in _ERRORS if isinstance(fault, kind))
        raise error(str(fault), where=path, expected=_EXPECTED, remedy=fault.remedy or remedy) from None


def _with_others(digest: str, others: tuple[memoryview, ...]) -> str:
    """The file's own digest, or where it has its weights in other files one that changes with any of them."""
    if not others:
        return digest
    parts = [digest, *(hashlib.sha256(other).hexdigest() for other in others)]
    return hashlib.sha256(" ".join(parts).encode("ascii")).hexdigest()


def _mapped(path: Path) -> memoryview:
    """A file's content, mapped read-only."""
    try:
        size = _checked_size(path)
        with open(path, "rb", buffering=0) as file:
            return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
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
    if not stat.S_ISREG(status.st_mode):
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
