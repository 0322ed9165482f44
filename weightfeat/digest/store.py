"""A folder of digests, keyed by the content of the files they came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weightfeat.digest.types import Digest
from weightfeat.errors import BadRound


class DigestStore:
    """`root/<sha256>.npz`, one a model. Writers may race: a digest is a function of its key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Where the digest of the file with this sha256 lies or would lie."""
        return self.root / f"{key}.npz"

    def put(self, digest: Digest) -> None:
        """Store a digest atomically."""
        self.root.mkdir(parents=True, exist_ok=True)
        digest.save(self.path(digest.key))

    def get(self, key: str) -> Digest:
        """The digest of the file with this sha256. Raises BadRound where it is absent, unreadable or another's."""
        found = Digest.load(self.path(key))
        if found.key != key:
            raise BadRound(
                f"the digest of {found.key}",
                where=self.path(key),
                expected="that of the file it is named after",
                remedy="delete it and digest the model again",
            )
        return found

    def __contains__(self, key: str) -> bool:
        return self.path(key).is_file()

    def keys(self) -> Iterator[str]:
        """The sha256 of every digest held, in order."""
        return (path.stem for path in sorted(self.root.glob("*.npz")))
