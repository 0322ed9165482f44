"""Models within compressed streams and archives: opened within a budget, or said what is in the way."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoint_files import SOUND_BYTES, dict_of, program, sound_tensor, with_pickle
from weightfeat.checkpoint import read, streams
from weightfeat.errors import HostileFile, UnreadableFile, UnsupportedLayout

MIB = 1 << 20
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.fixture
def sound(tmp_path: Path) -> bytes:
    return with_pickle(
        tmp_path / "m.pt", program(dict_of({"w": sound_tensor()})), {"0": SOUND_BYTES}
    ).read_bytes()


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def zip_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def tar_of(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def test_digest_is_of_the_file_given_and_the_note_says_what_was_read(tmp_path: Path, sound: bytes) -> None:
    path = written(tmp_path / "model.zip", zip_of(inner=sound, notes=b"a text"))
    found = read(path)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [finding.detail for finding in found.findings] == ["read from 'inner' within it"]
    assert found.path == path


def test_nothing_is_left_behind(tmp_path: Path, sound: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    found = read(written(tmp_path / "model.gz", gzip.compress(sound)))
    assert found.tensors[0].data.tolist() == [[0, 1], [2, 3]]
    with pytest.raises(UnreadableFile):
        read(written(tmp_path / "broken.gz", gzip.compress(b"\x80\x02")))
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("kind", PACKERS)
def test_streams_one_after_another_are_one_file(tmp_path: Path, sound: bytes, kind: str) -> None:
    pack = PACKERS[kind]
    path = written(tmp_path / "model", pack(sound[:100]) + pack(sound[100:]) + bytes(64))
    assert len(read(path).tensors) == 1


@pytest.mark.parametrize("kind", PACKERS)
def test_stream_that_ends_early_or_is_followed_by_something(tmp_path: Path, sound: bytes, kind: str) -> None:
    whole = PACKERS[kind](sound)
    for cut in (len(whole) - 1, len(whole) // 2):
        with pytest.raises(UnreadableFile, match=r"truncated|damaged"):
            read(written(tmp_path / "cut", whole[:cut]))
    with pytest.raises(UnreadableFile, match="5 bytes of something else"):
        read(written(tmp_path / "more", whole + b"trail"))


@pytest.mark.parametrize("kind", PACKERS)
def test_bomb_is_hostile_and_stays_small(tmp_path: Path, kind: str) -> None:
    bomb = PACKERS[kind](bytes(64 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(HostileFile, match="unpacks to more than"):
            read(written(tmp_path / "bomb", bomb))
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()


def test_bombs_within_wrappings_share_one_budget(tmp_path: Path) -> None:
    inner = gzip.compress(bytes(30 * MIB))
    for wrapped in (zip_of(a=inner), tar_of(a=inner), gzip.compress(gzip.compress(bytes(40 * MIB)))):
        with pytest.raises((HostileFile, UnreadableFile)):
            read(written(tmp_path / "bomb", wrapped))
    with pytest.raises(HostileFile, match="unpacks to more"):
        read(written(tmp_path / "bomb", zip_of(a=gzip.compress(b"\x80\x02" + bytes(40 * MIB)))))


def test_many_streams_are_hostile(tmp_path: Path) -> None:
    with pytest.raises(HostileFile, match="compressed streams"):
        read(written(tmp_path / "many", gzip.compress(b"") * 5000))


def test_packed_too_often(tmp_path: Path, sound: bytes) -> None:
    inner = zip_of(a=sound)
    thrice = gzip.compress(tar_of(a=gzip.compress(sound)))
    often = gzip.compress(tar_of(a=gzip.compress(inner)))
    assert read(written(tmp_path / "thrice", thrice)).format == "torch-zip in gzip in tar in gzip"
    with pytest.raises(UnsupportedLayout, match="more than 3 times"):
        read(written(tmp_path / "often", often))


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_several_models_are_named_and_none_is_said(
    tmp_path: Path, sound: bytes, pack: Callable[..., bytes]
) -> None:
    with pytest.raises(UnsupportedLayout, match=r"several models \('a', 'b'\)"):
        read(written(tmp_path / "two", pack(a=sound, b=sound, c=b"text")))
    with pytest.raises(UnsupportedLayout, match="none of the 1 files"):
        read(written(tmp_path / "none", pack(c=b"text")))


def test_member_of_a_wrong_checksum_or_size(tmp_path: Path, sound: bytes) -> None:
    for content in (sound, sound + bytes(5000)):
        data = bytearray(zip_of(a=content))
        at = data.index(b"PK\x01\x02")
        for place in (14, at + 16):  # the checksum in both headers
            data[place] ^= 1
        with pytest.raises(UnreadableFile, match="checksum"):
            read(written(tmp_path / "model.zip", bytes(data)))


def test_tar_of_links_and_of_two_of_one_name(tmp_path: Path, sound: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("model.pt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(UnsupportedLayout, match="none of the 0"):
        read(written(tmp_path / "link.tar", out.getvalue()))
    twice = tar_of(a=sound)[: -2 * 512]
    twice = twice[: 512 + (len(sound) + 511) // 512 * 512]
    with pytest.raises(HostileFile, match="two members"):
        read(written(tmp_path / "twice.tar", twice + tar_of(a=sound)))


def test_torch_0_1_is_named(tmp_path: Path) -> None:
    members = dict.fromkeys(("sys_info", "pickle", "tensors", "storages"), b"x")
    with pytest.raises(UnsupportedLayout, match=r"torch 0\.1"):
        read(written(tmp_path / "old.tar", tar_of(**members)))


def test_archive_that_macos_packed_again_is_no_attack(tmp_path: Path, sound: bytes) -> None:
    path = written(tmp_path / "m.pt", sound)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/archive/._data.pkl", b"x")
    with pytest.raises(UnsupportedLayout, match="macOS"):
        read(path)


def test_budget_lets_a_sound_file_grow_tenfold() -> None:
    budget = streams.Budget.of(MIB)
    budget.spend(42 * MIB)
    with pytest.raises(Exception, match="10 times"):
        budget.spend(1)
