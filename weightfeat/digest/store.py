"""A folder of digests, keyed by the content of the files they came from."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

from weightfeat.digest.types import LARGEST, Digest
from weightfeat.errors import BadRound
from weightfeat.files import write_atomically

SHARDS = "shard-*.zip"


class DigestStore:
    """`root/<sha256>.npz`, one a model, and shards: archives that hold many of these files. Writers may race: a digest
    is a function of its key.

    A shard is never written again, so that a set kept under version control grows by what is new alone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Where the digest of the file with this sha256 lies or would lie, outside of shards."""
        return self.root / f"{key}.npz"

    def put(self, digest: Digest) -> None:
        """Store a digest atomically."""
        self.root.mkdir(parents=True, exist_ok=True)
        digest.save(self.path(digest.key))

    def get(self, key: str) -> Digest:
        """The digest of the file with this sha256. Raises BadRound where it is absent, unreadable or another's."""
        own = self.path(key)
        shard = None if own.is_file() else self._shards.get(key)
        found = Digest.load(own) if shard is None else Digest.from_bytes(_member(shard, own.name), shard)
        if found.key != key:
            raise BadRound(
                f"the digest of {found.key}",
                where=own if shard is None else shard,
                expected="that of the file it is named after",
                remedy="delete it and digest the model again",
            )
        return found

    def __contains__(self, key: str) -> bool:
        return self.path(key).is_file() or key in self._shards

    def keys(self) -> Iterator[str]:
        """The sha256 of every digest held, in order."""
        return iter(sorted({*(path.stem for path in self.root.glob("*.npz")), *self._shards}))

    def pack(self, keys: list[str], name: str) -> Path:
        """Put these digests of the folder into a new shard `shard-<name>.zip`, and take their files away."""
        path = self.root / SHARDS.replace("*", name)
        write_atomically(path, _packed({f"{key}.npz": self.path(key).read_bytes() for key in keys}), "shard")
        for key in keys:
            self.path(key).unlink()
        self.__dict__.pop("_shards", None)
        return path

    @cached_property
    def _shards(self) -> Mapping[str, Path]:
        """Which shard holds a key."""
        found = {}
        for path in sorted(self.root.glob(SHARDS)):
            try:
                with zipfile.ZipFile(path) as archive:
                    found.update({Path(name).stem: path for name in archive.namelist()})
            except (OSError, zipfile.BadZipFile) as error:
                raise _bad_shard(path, error) from error
        return found


def _packed(files: Mapping[str, bytes]) -> bytes:
    """An archive of files that are compressed already; equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), files[name])
    return buffer.getvalue()


def _member(shard: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(shard) as archive:
            entry = archive.getinfo(name)
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > LARGEST:
                raise zipfile.BadZipFile("compressed, or too large")
            return archive.read(entry)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise _bad_shard(shard, error) from error


def _bad_shard(path: Path, error: Exception) -> BadRound:
    return BadRound(
        f"unreadable shard of digests ({type(error).__name__}: {error})",
        where=path,
        expected="an archive written by weightfeat",
        remedy="take the set from its source again",
    )
