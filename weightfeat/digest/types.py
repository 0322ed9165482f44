"""The digest: what is kept of a network once its weights are put away, and its file format."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.errors import BadRound, WeightfeatError
from weightfeat.files import write_atomically

FORMAT = 1
"""Version of the container (not of the numbers: each block has its own version)."""
LARGEST = 256 << 20
"""Bytes of a digest unpacked; 24 C^2 of them, and the head's rows, go with its C classes."""
_NAME = 8
# Rows that a layer of the network has in every array of these blocks.
_ROWS_A_LAYER = {"layers": 1, "spectrum": 1, "distribution": 2, "channels": 1, "alignment": 1}

Array = NDArray[np.float64]
Block = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Digest:
    """Permutation-invariant summaries of one network, some tens of kilobytes.

    `key` is the sha256 of the model file. `blocks["layers"]` is the layer table that every per-layer array's
    first axis follows; the other blocks are described where they are computed. `versions` maps a block to
    the version of its numbers: adding or bettering one block leaves the others valid.
    """

    key: str
    architecture: str
    family: str
    fingerprint: str
    num_classes: int
    blocks: Mapping[str, Block]
    versions: Mapping[str, int]
    findings: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write atomically as a compressed archive of arrays without objects; equal digests give equal bytes."""
        write_atomically(path, self.to_bytes(), "digest")

    def to_bytes(self) -> bytes:
        """The file's content. Dates inside the archive are fixed, so content alone decides the bytes."""
        head = {
            "format": FORMAT,
            "key": self.key,
            "architecture": self.architecture,
            "family": self.family,
            "fingerprint": self.fingerprint,
            "num_classes": self.num_classes,
            "versions": dict(self.versions),
            "findings": list(self.findings),
        }
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            _write(archive, "head.json", json.dumps(head, sort_keys=True).encode())
            for block in sorted(self.blocks):
                for name in sorted(self.blocks[block]):
                    _write(archive, f"{block}/{name}", _pack(self.blocks[block][name]))
        return buffer.getvalue()

    @staticmethod
    def load(path: Path) -> Digest:
        """Read a digest. Raises BadRound when the file is not one, or is of another version."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise _unreadable(error, path) from error
        return Digest.from_bytes(data, path)

    @staticmethod
    def from_bytes(data: bytes, where: object) -> Digest:
        """Read what `to_bytes` made; `where` is what an error names. Raises BadRound as `load` does."""
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                _require_small(archive)
                head = json.loads(_read(archive, archive.getinfo("head.json")))
                if head["format"] != FORMAT:
                    raise BadRound(
                        f"digest format {head['format']}",
                        where=where,
                        expected=f"format {FORMAT}",
                        remedy="digest the models again with this version of weightfeat",
                    )
                blocks: dict[str, Block] = {}
                for entry in archive.infolist():
                    block, _, name = entry.filename.partition("/")
                    if name:
                        blocks.setdefault(block, {})[name] = _unpack(_read(archive, entry))
            versions = {str(k): int(v) for k, v in head["versions"].items()}
            _require_whole(blocks, versions)
            return Digest(
                key=str(head["key"]),
                architecture=str(head["architecture"]),
                family=str(head["family"]),
                fingerprint=str(head["fingerprint"]),
                num_classes=int(head["num_classes"]),
                blocks=blocks,
                versions=versions,
                findings=tuple(str(line) for line in head["findings"]),
            )
        except WeightfeatError:
            raise
        except Exception as error:  # zlib, memory, recursion...: whatever a forged file makes a parser raise
            raise _unreadable(error, where) from error


def _unreadable(error: Exception, where: object) -> BadRound:
    return BadRound(
        f"unreadable digest ({type(error).__name__}: {error})",
        where=where,
        expected="a digest written by weightfeat",
        remedy="delete it and digest the model again",
    )


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED, 9)


def _require_small(archive: zipfile.ZipFile) -> None:
    """Of an archive that says it is small only that much is unpacked: :func:`_read` takes each size at its word."""
    entries = archive.infolist()
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise ValueError("compressed in another way")  # zipfile unpacks bz2 and LZMA whatever the size said
    if sum(entry.file_size for entry in entries) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes unpacked")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as stream:
        return stream.read(entry.file_size)


def _require_whole(blocks: Mapping[str, Block], versions: Mapping[str, int]) -> None:
    if absent := versions.keys() - blocks.keys():
        raise ValueError(f"no block {min(absent)}")
    layers = len(blocks["layers"]["name"])
    for block, rows in _ROWS_A_LAYER.items():
        for name, array in blocks.get(block, {}).items():
            if len(array) != rows * layers:
                raise ValueError(f"{block}/{name} is not of {layers} layers")


def _pack(array: NDArray[Any]) -> bytes:
    """An npy file, floats as byte planes: exponents beside exponents compress a tenth better than values do.

    A float array of shape S becomes uint8 of shape (itemsize, *S); its dtype stands before the npy header.
    """
    stream = io.BytesIO()
    stream.write(array.dtype.str.encode().ljust(_NAME))
    whole = np.ascontiguousarray(array)
    if whole.dtype.kind == "f":
        whole = np.moveaxis(whole[..., None].view(np.uint8), -1, 0)
    np.lib.format.write_array(stream, np.ascontiguousarray(whole), allow_pickle=False)
    return stream.getvalue()


def _unpack(data: bytes) -> NDArray[Any]:
    dtype = np.dtype(data[:_NAME].decode().strip())
    stored: NDArray[Any] = np.lib.format.read_array(io.BytesIO(data[_NAME:]), allow_pickle=False)
    if dtype.kind == "f":
        return np.ascontiguousarray(np.moveaxis(stored, 0, -1)).view(dtype)[..., 0]
    return stored
