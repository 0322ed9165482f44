"""A network in several files is read as one, from its folder or its index, and never in part."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from weightfeat.checkpoint import read
from weightfeat.checkpoint.shards import part_of
from weightfeat.errors import HostileFile, UnreadableFile

torch.manual_seed(0)
STATE = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3)).state_dict()
KINDS = {"safetensors": ("model", save_file), "bin": ("pytorch_model", torch.save)}


def written(folder: Path, kind: str, *, indexed: bool = True, prefix: str = "") -> Path:
    """The network in three parts; the folder."""
    stem, save = KINDS[kind]
    names = list(STATE)
    parts = {f"{stem}-{n + 1:05}-of-00003.{kind}": names[n * 3 : n * 3 + 3] for n in range(3)}
    for file, held in parts.items():
        save({prefix + name: STATE[name] for name in held}, folder / file)
    if indexed:
        weight_map = {prefix + name: file for file, held in parts.items() for name in held}
        (folder / f"{stem}.{kind}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("kind", list(KINDS))
def test_folder_and_index_give_the_whole_network(tmp_path: Path, kind: str, prefix: str) -> None:
    folder = written(tmp_path, kind, prefix=prefix)
    index = next(folder.glob("*.index.json"))
    for path in (folder, index):
        found = read(path)
        assert {t.name: t.data.tolist() for t in found.tensors} == {n: t.tolist() for n, t in STATE.items()}
        assert found.path == path
    assert read(folder).ordered == (kind == "bin")
    assert len(read(folder).sha256) == 64


def test_parts_without_an_index_are_joined_by_their_numbers(tmp_path: Path) -> None:
    assert [t.name for t in read(written(tmp_path, "bin", indexed=False)).tensors] == list(STATE)


def test_a_folder_with_one_file_of_the_usual_name_stands_for_it(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert len(read(tmp_path).tensors) == len(STATE)


def test_other_bytes_in_a_part_give_another_digest(tmp_path: Path) -> None:
    before = read(written(tmp_path, "bin")).sha256
    torch.save(
        {name: STATE[name] + 1 for name in list(STATE)[6:]}, tmp_path / "pytorch_model-00003-of-00003.bin"
    )
    assert read(tmp_path).sha256 != before


@pytest.mark.parametrize("indexed", [True, False])
def test_a_missing_part_is_named(tmp_path: Path, indexed: bool) -> None:
    written(tmp_path, "bin", indexed=indexed)
    (tmp_path / "pytorch_model-00002-of-00003.bin").unlink()
    with pytest.raises(
        UnreadableFile, match=r"1 of its 3 parts are absent: 'pytorch_model-00002-of-00003\.bin'"
    ):
        read(tmp_path)


def test_a_tensor_that_the_index_promises_must_be_there(tmp_path: Path) -> None:
    written(tmp_path, "bin")
    torch.save({}, tmp_path / "pytorch_model-00001-of-00003.bin")
    torch.save({"0.weight": STATE["0.weight"]}, tmp_path / "pytorch_model-00001-of-00003.bin")
    with pytest.raises(
        UnreadableFile, match=r"promises '0.bias', which is not in 'pytorch_model-00001-of-00003.bin'"
    ):
        read(tmp_path)


def test_one_name_in_two_parts_is_hostile(tmp_path: Path) -> None:
    written(tmp_path, "bin")
    torch.save(
        {"0.weight": STATE["0.weight"] + 1, "3.weight": STATE["3.weight"]},
        tmp_path / "pytorch_model-00003-of-00003.bin",
    )
    with pytest.raises(HostileFile, match="same name"):
        read(tmp_path)


@pytest.mark.parametrize("target", ["../model.bin", "/etc/passwd", "a/b.bin", "..", "", "a\\b.bin"])
def test_an_index_does_not_lead_out_of_its_folder(tmp_path: Path, target: str) -> None:
    (tmp_path / "x.index.json").write_text(json.dumps({"weight_map": {"w": target}}))
    with pytest.raises(HostileFile, match="leads out of its folder"):
        read(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 1}}', "[" * 100_000]
)
def test_an_index_that_is_none_is_unreadable(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.index.json").write_text(text)
    with pytest.raises(UnreadableFile, match=r"x\.index\.json"):
        read(tmp_path)


def test_an_empty_folder_is_still_a_directory(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="is a directory"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "part"),
    [("m-00002-of-00003.bin", "2 of 3"), ("m-00001-of-00001.bin", None), ("id-00000002.pt", None)],
)
def test_a_part_is_known_by_its_name(name: str, part: str | None) -> None:
    assert part_of(Path(name)) == part
