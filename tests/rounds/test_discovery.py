"""Which files a scan looks at: all that are named, in folders those that end like models, none outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from weightfeat.rounds.discovery import SUFFIXES, Found, Wanted, discover

NONE = Wanted()
BESIDE = "parts of a network whose index or folder was scanned"


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def names(found: Found, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in found.paths]


def test_every_suffix_counts_in_any_case_and_all_else_is_counted(tmp_path: Path) -> None:
    root = make(
        tmp_path, *(f"m{at}{suffix.upper()}" for at, suffix in enumerate(SUFFIXES)), "notes.txt", "noend"
    )
    found = discover([root], NONE)
    assert len(found.paths) == len(SUFFIXES)
    assert dict(found.passed_over) == {"unlike a model's name": 2}


def test_what_is_named_is_scanned_once_whatever_it_is_called(tmp_path: Path) -> None:
    root = make(tmp_path, "a.pt", "b.txt")
    named = [root / "b.txt", root / "absent", root, root / "a.pt", root / "b.txt"]
    assert names(discover(named, Wanted(exclude=("*",))), root) == ["b.txt", "absent", "a.pt"]
    assert names(discover(named, NONE), root) == ["b.txt", "absent", "a.pt"]


def test_patterns_match_names_and_paths_and_whole_folders(tmp_path: Path) -> None:
    root = make(tmp_path, "a.pt", "x/a.pt", "x/y/b.pt", "x/y/c.dat", "z/b.pt")
    for wanted, expected in (
        (Wanted(exclude=("x",)), ["a.pt", "z/b.pt"]),
        (Wanted(exclude=("x/y/",)), ["a.pt", "x/a.pt", "z/b.pt"]),
        (Wanted(exclude=("b.pt",)), ["a.pt", "x/a.pt"]),
        (Wanted(include=("*.dat", "z/*")), ["x/y/c.dat", "z/b.pt"]),
        (Wanted(include=("*.pt",), exclude=("x",)), ["a.pt", "z/b.pt"]),
    ):
        assert names(discover([root], wanted), root) == expected


def test_links_are_followed_inside_the_folder_alone(tmp_path: Path) -> None:
    """A hub's cache links names of models to blobs beside them; a link out of the folder could lead anywhere."""
    outside = make(tmp_path / "outside", "secret.pt") / "secret.pt"
    root = make(tmp_path / "root", "blobs/0123", "models/own.pt")
    (root / "models" / "linked.pt").symlink_to(root / "blobs" / "0123")
    (root / "models" / "away.pt").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "folder").symlink_to(outside.parent)
    found = discover([root], NONE)
    assert names(found, root) == ["models/linked.pt", "models/own.pt"]
    assert found.passed_over["links out of the folder"] == 2
    (tmp_path / "door").symlink_to(root)
    assert len(discover([tmp_path / "door"], NONE).paths) == 2  # who names a link means it


def test_an_index_stands_for_its_parts(tmp_path: Path) -> None:
    parts = [f"model-0000{at}-of-00002.safetensors" for at in (1, 2)]
    root = make(
        tmp_path,
        "whole/model.safetensors.index.json",
        *(f"whole/{part}" for part in parts),
        f"loose/{parts[0]}",
    )
    found = discover([root], NONE)
    assert names(found, root) == ["loose", "whole/model.safetensors.index.json"]
    assert found.passed_over[BESIDE] == 3


def test_an_index_that_is_left_out_stands_for_nothing(tmp_path: Path) -> None:
    """Parts are passed over only where what stands for them is scanned."""
    root = make(tmp_path, "model.safetensors.index.json", "model-00001-of-00001.safetensors", "other.pt")
    for wanted in (Wanted(exclude=("*.json",)), Wanted(include=("*.safetensors", "*.pt"))):
        assert discover([root], wanted).paths == (root, root / "other.pt")


def test_two_sets_of_loose_parts_are_scanned_one_by_one(tmp_path: Path) -> None:
    root = make(tmp_path, "a-00001-of-00002.bin", "b-00001-of-00002.bin")
    assert names(discover([root], NONE), root) == ["a-00001-of-00002.bin", "b-00001-of-00002.bin"]


@pytest.mark.parametrize(
    "held",
    [
        (".metadata", "__0_0.distcp"),
        (".metadata", "__0_0.distcp", "model.pt"),
        ("saved_model.pb", "variables/variables.index"),
        ("Manifest.json", "Data/weights"),
        ("checkpoint", "model.ckpt-1.index"),
    ],
)
def test_a_folder_that_is_a_network_is_scanned_itself(held: tuple[str, ...], tmp_path: Path) -> None:
    root = make(tmp_path, *(f"net/{name}" for name in held), "a.pt")
    beside = ["net/model.pt"] if "model.pt" in held else []
    assert sorted(names(discover([root], NONE), root)) == ["a.pt", "net", *beside]
    assert names(discover([root], Wanted(exclude=("net",))), root) == ["a.pt"]
    assert names(discover([root], Wanted(include=("a.*",))), root) == ["a.pt"]
    assert discover([root / "net"], NONE).paths[0] == root / "net"


def test_a_file_called_checkpoint_among_models_makes_no_network_of_the_folder(tmp_path: Path) -> None:
    assert names(discover([make(tmp_path, "checkpoint", "a.pt")], NONE), tmp_path) == ["a.pt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the super-user looks into every folder")
def test_a_closed_folder_is_an_error_and_no_silence(tmp_path: Path) -> None:
    root = make(tmp_path, "open/a.pt", "closed/b.pt")
    (root / "closed").chmod(0)
    found = discover([root], NONE)
    assert names(found, root) == ["open/a.pt"]
    assert "cannot be looked into" in str(found.errors[0])


def test_an_error_of_a_folder_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path, "a.pt", "closed/b.pt")
    scandir = os.scandir

    def closed(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", closed)
    found = discover([root], NONE)
    assert names(found, root) == ["a.pt"]
    (error,) = found.errors
    assert "closed: the folder cannot be looked into (Permission denied)" in str(error)
