"""The formats, each known by its first bytes; the name of a file says nothing."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from weightfeat.checkpoint.audit import foreign_callables, reported
from weightfeat.checkpoint.faults import Abuse, Malformed, Unsupported
from weightfeat.checkpoint.hdf5_file import SIGNATURE, read_hdf5
from weightfeat.checkpoint.legacy import MAGIC, Opened, open_bare, open_legacy
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.modules import Found, find_network
from weightfeat.checkpoint.pickle_machine import run
from weightfeat.checkpoint.prefixes import tensors_under, without_wrappers
from weightfeat.checkpoint.safetensors_file import read_safetensors
from weightfeat.checkpoint.torch_zip import open_zip
from weightfeat.checkpoint.torchscript import CONSTANTS, read_torchscript
from weightfeat.checkpoint.types import Finding, StoredTensor
from weightfeat.checkpoint.zip_archive import LOCAL_SIGNATURE, ZipArchive

# Long enough for a tar header.
HEAD_BYTES = 512
_MOST_SHARED = 4
"""How many times the file's own size its tensors may have together: those of tied layers have several names."""


@dataclass(frozen=True)
class Contents:
    """What a format's reader makes of a file."""

    format: str
    tensors: tuple[StoredTensor, ...]
    findings: tuple[Finding, ...]
    module_types: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ordered: bool = True


@dataclass(frozen=True)
class Format:
    """A way of recognising a format by its first bytes (given with the file's size), and of reading it.

    `read_key` reads the part under a key, where files of the format hold several things under keys.
    """

    name: str
    sniff: Callable[[bytes, int], bool]
    read: Callable[[Path, memoryview], Contents]
    read_key: Callable[[Path, memoryview, str], Contents] | None = None


def _read_zip(path: Path, data: memoryview, key: str | None = None) -> Contents:
    archive, trace = ZipArchive(data), Trace()
    with reported(trace):
        if CONSTANTS in archive:  # the test torch.load makes
            found, notes = read_torchscript(archive, trace)
            contents = _contents("torchscript", found, trace, notes, data)
            return contents if key is None else under(contents, key)
        opened, notes = open_zip(archive, trace)
        return _contents("torch-zip", find_network(opened.root, opened.reader, key), trace, notes, data)


def _read_legacy(path: Path, data: memoryview, key: str | None = None) -> Contents:
    return _read_stream("torch-legacy", open_legacy, data, key)


def _read_pickle(path: Path, data: memoryview, key: str | None = None) -> Contents:
    return _read_stream("pickle", open_bare, data, key)


def _read_stream(
    name: str, opener: Callable[[memoryview, Trace], Opened], data: memoryview, key: str | None
) -> Contents:
    trace = Trace()
    with reported(trace):
        opened = opener(data, trace)
        found = find_network(opened.root, opened.reader, key)
        return _contents(name, found, trace, _surplus(opened, data), data)


def _surplus(opened: Opened, data: memoryview) -> list[Finding]:
    extra = len(data) - opened.end
    return [Finding("note", f"{extra} bytes follow the end of the model")] if extra else []


def _contents(name: str, found: Found, trace: Trace, notes: list[Finding], data: memoryview) -> Contents:
    _refuse_shared(found.tensors, len(data))
    plain = without_wrappers(found)
    findings = (*foreign_callables(trace), *found.findings, *notes)
    ordered = not any(finding.kind == "ambiguous-order" for finding in findings)
    return Contents(name, plain.tensors, findings, plain.module_types, ordered)


def under(contents: Contents, key: str) -> Contents:
    """Only what is under a key, by the names; raises Unsupported where nothing is."""
    start = f"{key}."
    types = {
        path[len(start) :]: kind for path, kind in contents.module_types.items() if path.startswith(start)
    }
    tensors = tensors_under(contents.tensors, key)
    return replace(contents, tensors=tensors, module_types=MappingProxyType(types))


def _refuse_shared(tensors: tuple[StoredTensor, ...], size: int) -> None:
    """Raises Abuse where many names for few bytes would fill the memory once each has an array of its own."""
    named = sum(tensor.data.nbytes for tensor in tensors)
    if named > _MOST_SHARED * size:
        raise Abuse(f"its tensors share their bytes: together they have {named:,}, the file {size:,}")


def _read_safetensors(path: Path, data: memoryview) -> Contents:
    if _is_pickle(bytes(data[:2]), len(data)) and _runs(data):
        raise Abuse("it is a safetensors file and a pickle at once")
    tensors, findings = read_safetensors(path, data)
    if not tensors:
        raise Unsupported("it has no tensor that can be read")
    found = without_wrappers(Found(tensors, MappingProxyType({}), findings))
    return Contents("safetensors", found.tensors, found.findings, ordered=False)


def _runs(data: memoryview) -> bool:
    """Whether a pickle machine gets to the end or to anything it would import."""
    trace = Trace()
    try:
        run(data, 0, trace)
    except (Abuse, Malformed):
        return bool(trace.references)
    return True


def _read_hdf5(path: Path, data: memoryview) -> Contents:
    found = read_hdf5(path, data)
    ordered = not any(finding.kind == "ambiguous-order" for finding in found.findings)
    return Contents("keras-hdf5", found.tensors, found.findings, found.module_types, ordered)


def _refused(reason: str) -> Callable[[Path, memoryview], Contents]:
    def read(path: Path, data: memoryview) -> Contents:
        raise Unsupported(reason)

    return read


def _is_pickle(head: bytes, size: int) -> bool:
    return len(head) > 1 and head[0] == 0x80 and head[1] <= 5


def _is_legacy(head: bytes, size: int) -> bool:
    number = MAGIC.to_bytes(10, "little")
    return (_is_pickle(head, size) and number in head[:32]) or head.startswith(
        str(MAGIC).encode().join((b"L", b"L\n."))
    )


def _is_tar(head: bytes, size: int) -> bool:
    try:
        tarfile.TarInfo.frombuf(head.ljust(HEAD_BYTES, b"\0")[:HEAD_BYTES], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _is_both(head: bytes, size: int) -> bool:
    # torch.load tries tar before pickle, most scanners the other way round.
    return _is_tar(head, size) and _is_pickle(head, size)


def _read_both(path: Path, data: memoryview) -> Contents:
    raise Abuse("it is a tar archive and a pickle at once")


def _is_safetensors(head: bytes, size: int) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


FORMATS = (
    Format("zip", lambda head, size: head.startswith(LOCAL_SIGNATURE), _read_zip, _read_zip),
    Format("tar and pickle", _is_both, _read_both),
    # Before the pickles, for the length of a header may look like the beginning of one.
    Format("safetensors", _is_safetensors, _read_safetensors),
    Format("torch-legacy", _is_legacy, _read_legacy, _read_legacy),
    Format("pickle", _is_pickle, _read_pickle, _read_pickle),
    Format("hdf5", lambda head, size: head.startswith(SIGNATURE), _read_hdf5),
    Format("torch-tar", _is_tar, _refused("it is a tar archive, as torch 0.1 wrote, which is not read")),
)

# What else a path may turn out to hold, with what its owner should know about it.
_KNOWN_STRANGERS = (
    (b"version https://git-lfs", "it is a git-lfs pointer, not the file itself: run git lfs pull"),
    (b"<!DOCTYPE", "it is a web page, not a model: the download went wrong"),
    (b"<html", "it is a web page, not a model: the download went wrong"),
    (b"\x1f\x8b", "it is gzip-compressed: decompress it first"),
    (b"PK\x05\x06", "it is an empty archive"),
)


def format_of(head: bytes, size: int) -> Format:
    """The format of a file that begins with `head`; raises Malformed when it is none of them."""
    for known in FORMATS:
        if known.sniff(head, size):
            return known
    for beginning, meaning in _KNOWN_STRANGERS:
        if head.startswith(beginning):
            raise Malformed(meaning)
    raise Malformed("it is a text file" if _is_text(head) else "its first bytes are those of no model format")


_CONTROL_CODES = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")


def _is_text(head: bytes) -> bool:
    # The last character may be cut in two.
    is_utf8 = len(head.decode("utf-8", "ignore").encode()) > len(head) - 4
    return is_utf8 and not set(head) & _CONTROL_CODES
