"""Files that a model file names as holding its weights: read only from its own folder, without following a link."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weightfeat.checkpoint.faults import Abuse, Unreadable

_MOST_FILES = 1000
_DEEPEST = 8
_COPY = "copy the files it needs into its folder, without links"


@dataclass
class Beside:
    """The other files of a model, mapped when they are first asked for; `files` are those, by relative path."""

    folder: Path
    files: dict[str, memoryview] = field(default_factory=dict)

    def part(self, location: str, offset: int, length: int | None) -> memoryview:
        """`length` bytes of a file from `offset`, or all behind it.

        Raises Abuse for a path that leads out of the folder or through a link, Unreadable where the file is absent or
        too short.
        """
        whole = self.whole(location)
        end = len(whole) if length is None else offset + length
        if not 0 <= offset <= end <= len(whole):
            raise Unreadable(f"it reaches past the end of {location!r}, of {len(whole):,} bytes")
        return whole[offset:end]

    def whole(self, location: str) -> memoryview:
        """A whole file; raises as `part`."""
        if location not in self.files:
            if len(self.files) >= _MOST_FILES:
                raise Abuse(f"its weights lie in more than {_MOST_FILES:,} files")
            self.files[location] = _mapped(self.folder, _parts(location))
        return self.files[location]


def _parts(location: str) -> Sequence[str]:
    parts = location.removeprefix("./").split("/")
    leads_out = any(part in ("", ".", "..") for part in parts) or "\\" in location or "\0" in location
    if leads_out or len(parts) > _DEEPEST:
        raise Abuse(f"its weights are to be read from {location[:200]!r}, out of its own folder")
    return parts


def _mapped(folder: Path, parts: Sequence[str]) -> memoryview:
    """A regular file, opened step by step from its folder so that no link on the way is followed."""
    shown = "/".join(parts)
    descriptor = -1
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        for place, part in enumerate(parts):
            kind = os.O_DIRECTORY if place < len(parts) - 1 else os.O_NONBLOCK
            inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Abuse(f"its weights are to be read from {shown!r}, which is no regular file")
        return (
            memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
            if status.st_size
            else memoryview(b"")
        )
    except FileNotFoundError:
        raise Unreadable(f"its values lie in {shown!r}, which is not beside the file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Abuse(
            f"its weights are to be read from {shown!r}: a link, or no file ({reason})", _COPY
        ) from None
    finally:
        if descriptor >= 0:
            os.close(descriptor)
