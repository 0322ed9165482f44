"""Writing a file whole or not at all, reading one that is none without waiting, and one line on why neither went."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from weightfeat.errors import BadOutput


def read_regular(path: Path, limit: int) -> bytes:
    """A file's bytes, `limit` at most. A pipe, a device or a socket is refused at once: opening one may wait for ever.

    Raises
    ------
    OSError : absent, closed to us, or no regular file (`strerror` says so).
    ValueError : larger than `limit`.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    with open(path, "rb", opener=_at_once) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    return content


def _at_once(path: str, flags: int) -> int:
    """Without waiting for what may have taken the file's place meanwhile."""
    return os.open(path, flags | os.O_NONBLOCK)


def check_writable(path: Path, what: str) -> None:
    """Refuse `path` early when nothing could be written there.

    Raises
    ------
    BadOutput : the folder is absent or closed to us, or the path is itself a folder.
    """
    folder = path.parent
    if path.is_dir():
        raise _refusal(path, f"the {what} path is a folder")
    if not folder.is_dir():
        raise _refusal(path, f"the {what}'s folder does not exist" if not folder.exists() else "not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _refusal(path, f"the {what}'s folder is not writable")


def write_atomically(path: Path, content: str | bytes, what: str = "file") -> None:
    """Write `content` under a temporary name beside `path`, flush it to disk, and rename it into place.

    A reader sees the old file or the new one, never a part. The file gets the permissions a plain `open`
    would give it, so that whoever collects results under another user can read them.

    Raises
    ------
    BadOutput : the folder cannot be written to, or the disk is full.
    """
    data = content.encode() if isinstance(content, str) else content
    # Random rather than the process's number: two machines may write one folder.
    partial = path.with_name(f".{path.name}.{secrets.randbits(63)}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise _refusal(path, f"the {what} could not be written ({error.strerror})") from error


def remove_stale(path: Path, what: str) -> None:
    """Remove what an earlier run left at `path`, so that a failure now cannot pass for its answer."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(path, f"the earlier {what} cannot be replaced ({error.strerror})") from error


def make_folder(path: Path, what: str) -> Path:
    """Create the folder `path` where it is absent; BadOutput when that cannot be, or it is closed to us."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise BadOutput(
            f"the {what} cannot be made or written to ({error.strerror})",
            where=path,
            expected="a folder, or a place where one can be made",
            remedy="give a writable folder",
        ) from error
    return path


def _refusal(path: Path, what: str) -> BadOutput:
    return BadOutput(
        what,
        where=path,
        expected="a file path in an existing, writable folder",
        remedy="create the folder, mend its permissions or give another path",
    )
