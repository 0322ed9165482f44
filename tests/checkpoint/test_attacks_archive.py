"""Archives two readers could see differently, and files that are no models at all."""

from __future__ import annotations

import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from checkpoint_files import (
    SOUND_BYTES,
    dict_of,
    program,
    records,
    rewrite,
    saved,
    sound_tensor,
    tensor_of,
    with_pickle,
)
from weightfeat.checkpoint import read
from weightfeat.errors import HostileFile, UnreadableFile, UnsupportedLayout, WeightfeatError

SOUND = program(dict_of({"w": sound_tensor()}))


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return with_pickle(tmp_path / "model.pt", SOUND, {"0": SOUND_BYTES})


def edited(path: Path, edit: Callable[[bytearray], None]) -> Path:
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)
    return path


def test_archives_of_other_writers_are_read(sound: Path) -> None:
    assert read(sound).tensors[0].data.tolist() == [[0, 1], [2, 3]]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_pickles_of_one_name(tmp_path: Path) -> None:
    for second in ("archive/data.pkl", "archive/DATA.PKL"):
        path = tmp_path / "model.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", SOUND)
            archive.writestr(second, SOUND)
        with pytest.raises(HostileFile, match="two records"):
            read(path)


def test_two_top_folders(tmp_path: Path) -> None:
    path = rewrite(tmp_path / "model.pt", {"a/data.pkl": SOUND, "b/data.pkl": SOUND})
    with pytest.raises(HostileFile, match="top folder"):
        read(path)


@pytest.mark.parametrize(
    "name",
    [
        "archive/../../evil",
        "/archive/x",
        "archive\\..\\evil",
        "C:/x",
        "archive/a\0b",
        "archive/" + "x" * 2000,
    ],
)
def test_paths_that_lead_out(tmp_path: Path, name: str) -> None:
    path = rewrite(tmp_path / "model.pt", {"archive/data.pkl": SOUND, name.replace("\0", "#"): b""})
    if "\0" in name:
        edited(path, lambda data: data.__setitem__(slice(None), data.replace(b"a#b", b"a\0b")))
    with pytest.raises(HostileFile):
        read(path)


@pytest.mark.parametrize("folder", ["e:1", "e:5", "..best", "con"])
def test_a_folder_as_torch_calls_it_after_the_file_leads_nowhere(tmp_path: Path, folder: str) -> None:
    torch.save({"fc.weight": torch.ones(2, 3)}, tmp_path / "model.pt")
    contents = {
        f"{folder}/{name.partition('/')[2]}": raw for name, raw in records(tmp_path / "model.pt").items()
    }
    assert [t.name for t in read(rewrite(tmp_path / "model.pt", contents)).tensors] == ["fc.weight"]


def test_wrong_checksum_is_noted_and_the_pickle_read_all_the_same(sound: Path) -> None:
    # CVE-2025-10156: a scanner that stops here says nothing of a file torch loads.
    def edit(data: bytearray) -> None:
        crc = struct.pack("<I", zipfile.ZipFile(sound).getinfo("archive/data.pkl").CRC)
        data[:] = data.replace(crc, b"\1\2\3\4")

    found = read(edited(sound, edit))
    assert len(found.tensors) == 1
    assert ["checksum" in finding.detail for finding in found.findings] == [True]


def _central(data: bytearray) -> int:
    return data.index(b"PK\x01\x02")


def _flag(data: bytearray, bit: int, central: bool = True, local: bool = True) -> None:
    if central:
        data[_central(data) + 8] |= bit
    if local:
        data[6] |= bit


AMBIGUOUS: dict[str, Callable[[bytearray], None]] = {
    "encrypted": lambda data: _flag(data, 1),
    "encrypted, says the directory": lambda data: _flag(data, 1, local=False),
    "encrypted, says the record": lambda data: _flag(data, 1, central=False),
    "sizes follow, says the record": lambda data: _flag(data, 8, central=False),
    "compressed, says the record": lambda data: data.__setitem__(8, 8),
    "another local name": lambda data: data.__setitem__(30, ord("b")),
    "another local size": lambda data: data.__setitem__(22, data[22] ^ 1),
    "another directory size": lambda data: data.__setitem__(_central(data) + 24, data[22] ^ 1),
    "another disk": lambda data: data.__setitem__(_central(data) + 34, 3),
    "bytes before it": lambda data: data.__setitem__(slice(0, 0), b"PK\x03\x04 and more"),
    "directory moved": lambda data: data.__setitem__(-6, data[-6] ^ 4),
    "too few entries": lambda data: data.__setitem__(slice(-14, -10), b"\1\0\1\0"),
    "a million entries": lambda data: data.__setitem__(slice(-14, -10), b"\xfe\xff\xfe\xff"),
    "several disks": lambda data: data.__setitem__(-18, 1),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_archive_is_hostile(sound: Path, name: str) -> None:
    with pytest.raises(HostileFile):
        read(edited(sound, AMBIGUOUS[name]))


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.extend(b"more"),
        lambda data: data.__setitem__(-2, 4),  # a comment
        lambda data: data.__delitem__(slice(-22, None)),
        lambda data: data.__setitem__(slice(_central(data), _central(data) + 4), b"QK\1\2"),
        lambda data: data.__setitem__(slice(0, 30), b"PK\3\4" + b"\xff" * 26),
    ],
)
def test_damaged_archive_is_refused(sound: Path, edit: Callable[[bytearray], None]) -> None:
    with pytest.raises((UnreadableFile, HostileFile)):
        read(edited(sound, edit))


def _end64(data: bytearray) -> int:
    return data.index(b"PK\x06\x06")


ZIP64_LIES: dict[str, Callable[[bytearray], None]] = {
    "entries": lambda data: data.__setitem__(_end64(data) + 32, 1),
    "directory elsewhere": lambda data: data.__setitem__(_end64(data) + 48, data[_end64(data) + 48] ^ 1),
    "directory larger": lambda data: data.__setitem__(_end64(data) + 47, 1),
    "record elsewhere": lambda data: data.__setitem__(data.index(b"PK\x06\x07") + 8, 7),
    "no record": lambda data: data.__setitem__(_end64(data), 0),
    "length": lambda data: data.__setitem__(_end64(data) + 4, 200),
}


@pytest.mark.parametrize("name", ZIP64_LIES)
def test_zip64_lies_are_hostile(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(3)}, path)
    with pytest.raises(HostileFile):
        read(edited(path, ZIP64_LIES[name]))


def test_overlapping_records_are_hostile(tmp_path: Path) -> None:
    # The directory lists storage 1 at the place of storage 0, under a name of the same length.
    data = program(dict_of({"a": sound_tensor("0"), "b": sound_tensor("1")}))
    path = with_pickle(tmp_path / "model.pt", data, {"0": SOUND_BYTES, "1": SOUND_BYTES})
    with zipfile.ZipFile(path) as archive:
        first, second = (archive.getinfo(f"archive/data/{key}").header_offset for key in "01")

    def edit(raw: bytearray) -> None:
        at = raw.index(b"archive/data/1", _central(raw)) - 4
        raw[at : at + 4] = struct.pack("<I", first)
        raw[first + 30 : first + 44] = b"archive/data/1"

    assert first != second
    with pytest.raises(HostileFile):
        read(edited(path, edit))


def test_no_byte_is_read_for_two_records(tmp_path: Path) -> None:
    # Local headers can be long, and a directory may have a hundred thousand entries that point at one.
    def edit(offset: int) -> Callable[[bytearray], None]:
        def point(raw: bytearray) -> None:
            at = raw.index(b"archive/data/1", _central(raw)) - 4
            raw[at : at + 4] = struct.pack("<I", offset)

        return point

    data = program(dict_of({"a": sound_tensor("0")}))
    for within in (0, 4):
        path = with_pickle(tmp_path / "model.pt", data, {"0": SOUND_BYTES, "1": SOUND_BYTES})
        with zipfile.ZipFile(path) as archive:
            offset = archive.getinfo("archive/data/0").header_offset + within
        with pytest.raises(HostileFile, match="overlap"):
            read(edited(path, edit(offset)))


def test_compressed_records_are_not_inflated(tmp_path: Path) -> None:
    contents = {"archive/data.pkl": SOUND, "archive/data/0": SOUND_BYTES}
    with pytest.raises(UnsupportedLayout, match="compressed"):
        read(rewrite(tmp_path / "all.pt", contents, zipfile.ZIP_DEFLATED))
    path = tmp_path / "one.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "archive/data.pkl", program(dict_of({"a": sound_tensor("0"), "b": sound_tensor("1")}))
        )
        archive.writestr("archive/data/0", SOUND_BYTES, zipfile.ZIP_DEFLATED)
        archive.writestr("archive/data/1", SOUND_BYTES)
    found = read(path)
    assert [tensor.name for tensor in found.tensors] == ["b"]
    assert "compressed" in found.findings[0].detail


def test_other_archives_are_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    objects = np.array([{"w": 1}], dtype=object)
    np.savez(path, objects=objects, allow_pickle=True)
    with pytest.raises(UnsupportedLayout):
        read(path)
    with pytest.raises(UnsupportedLayout, match="none of the 1 files in it is a model"):
        read(rewrite(path, {"package/code.py": b""}))


def test_unknown_byte_order(tmp_path: Path) -> None:
    contents = {"archive/data.pkl": SOUND, "archive/data/0": SOUND_BYTES, "archive/byteorder": b"middle"}
    with pytest.raises(UnsupportedLayout, match="byteorder"):
        read(rewrite(tmp_path / "model.pt", contents))


# The legacy layout


def legacy(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    path.write_bytes(saved({"w": torch.arange(4.0)}, _use_new_zipfile_serialization=False))
    return path


LEGACY_DAMAGE: dict[str, tuple[type[WeightfeatError], Callable[[bytearray], None]]] = {
    "cut in its storage": (UnreadableFile, lambda data: data.__delitem__(slice(-1, None))),
    "cut before its storage": (UnreadableFile, lambda data: data.__delitem__(slice(-17, None))),
    "cut in its pickles": (UnreadableFile, lambda data: data.__delitem__(slice(60, None))),
    "more elements than declared": (UnreadableFile, lambda data: data.__setitem__(-24, 5)),
    "a negative number of elements": (
        UnreadableFile,
        lambda data: data.__setitem__(slice(-24, -16), b"\xff" * 8),
    ),
    "another version": (UnsupportedLayout, lambda data: data.__setitem__(data.index(b"M\xe9\x03") + 1, 1)),
}


@pytest.mark.parametrize("name", LEGACY_DAMAGE)
def test_damaged_legacy_file(tmp_path: Path, name: str) -> None:
    error, edit = LEGACY_DAMAGE[name]
    with pytest.raises(error):
        read(edited(legacy(tmp_path), edit))


def test_bytes_after_a_legacy_file_are_noted(tmp_path: Path) -> None:
    found = read(edited(legacy(tmp_path), lambda data: data.extend(b"tail")))
    assert [finding.detail for finding in found.findings] == ["4 bytes follow the end of the model"]


def test_declared_terabyte_allocates_nothing(tmp_path: Path) -> None:
    body = program(dict_of({"w": tensor_of("0", 2**40, (2**40,), (1,))}))
    parts = saved(0, _use_new_zipfile_serialization=False)
    head = parts[: parts.index(b"\x80\x02K\x00.")]
    path = tmp_path / "model.pt"
    path.write_bytes(head + body + program(b"]X\1\0\0\0" + b"0a") + struct.pack("<q", 2**40))
    with pytest.raises(UnreadableFile, match="within a storage"):
        read(path)


# No model at all


def test_directory_pipe_and_absent_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, what in (
        ("", "directory"),
        ("pipe", "no regular file"),
        ("absent", "No such file"),
        ("a\0b", "null"),
    ):
        with pytest.raises(UnreadableFile, match=what):
            read(tmp_path / name)


def _tar(folder: Path) -> bytes:
    member = folder / "storages"
    member.write_bytes(b"x")
    with tarfile.open(folder / "old.tar", "w") as archive:
        archive.add(member, "storages")
    return (folder / "old.tar").read_bytes()


STRANGERS: dict[str, tuple[type[WeightfeatError], str, bytes]] = {
    "empty": (UnreadableFile, "empty", b""),
    "a few bytes": (UnreadableFile, "no model format", b"\x80\xff\xff\xff\xff"),
    "text": (UnreadableFile, "text file", b"epoch,loss\n1,0.5\n"),
    "pickle of protocol 0": (HostileFile, r"os\.system called", b"cos\nsystem\n(S'touch canary'\ntR."),
    "web page": (UnreadableFile, "web page", b"<!DOCTYPE html><html></html>"),
    "git-lfs pointer": (UnreadableFile, "git-lfs", b"version https://git-lfs.github.com/spec/v1\n"),
    "gzip": (UnreadableFile, "truncated", b"\x1f\x8b\x08\x00"),
    "noise": (UnreadableFile, "no model format", bytes(range(1, 256))),
    "empty archive": (UnreadableFile, "empty archive", b"PK\x05\x06" + b"\0" * 18),
    "HDF5": (UnreadableFile, "HDF5 library", b"\x89HDF\r\n\x1a\n" + b"\0" * 100),
    "safetensors without a header": (UnreadableFile, "safetensors", struct.pack("<Q", 2) + b"{x"),
    "safetensors of overlapping tensors": (
        UnreadableFile,
        "safetensors",
        (lambda header: struct.pack("<Q", len(header)) + header + b"\0" * 8)(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
        ),
    ),
    "empty safetensors": (UnsupportedLayout, "no tensor", struct.pack("<Q", 2) + b"{}"),
    "a list of numbers": (UnsupportedLayout, "no tensor", saved([1, 2, 3])),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_stranger_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    error, what, data = STRANGERS[name]
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    with pytest.raises(error, match=what) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "expected" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tar_is_unsupported_and_hostile_when_a_pickle_too(tmp_path: Path) -> None:
    data = bytearray(_tar(tmp_path))
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    with pytest.raises(UnsupportedLayout, match="tar"):
        read(path)
    data[:2] = b"\x80\x02"
    data[148:156] = b" " * 8
    data[148:155] = b"%06o\0" % sum(data[:512])
    path.write_bytes(data)
    with pytest.raises(HostileFile, match="at once"):
        read(path)


def test_error_never_shows_two_lines_even_for_a_path_with_one(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile) as caught:
        read(tmp_path / "two\nlines")
    assert "\n" not in str(caught.value)


def test_records_helper_reads_what_torch_writes(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.arange(4.0)}, path)
    assert any(content == SOUND_BYTES for content in records(path).values())
