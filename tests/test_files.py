"""What is no regular file is refused at once wherever a program reads its own files."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from container_round import REPOSITORY
from weightfeat import metaparameters
from weightfeat.detector import Detector
from weightfeat.errors import BadLearnedParameters, BadMetaparameters
from weightfeat.files import read_regular

LEARNED = REPOSITORY / "learned_parameters"
KINDS = ("a pipe", "a device", "a socket", "a folder", "a link to a device")


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """A reader that waits for ever fails, instead of keeping the tests waiting."""

    def late(*_: object) -> None:
        raise TimeoutError("still reading")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(kind: str, path: Path) -> Path:
    """Make one of `KINDS` at `path`, in the place of what is there."""
    path.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path = Path("/dev/zero")
    elif kind == "a socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path has to be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.chdir(here)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_regular_file_is_read(kind: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no regular file"):
        read_regular(put(kind, tmp_path / "it"), 100)


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"x" * 100)
    link.symlink_to(path)
    assert read_regular(path, 100) == read_regular(link, 100) == b"x" * 100
    with pytest.raises(ValueError, match="larger than 99"):
        read_regular(path, 99)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "absent", 99)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "a device"])
@pytest.mark.parametrize("file", ["detector.json", "tables"])
def test_learned_parameters_are_regular_files(kind: str, file: str, tmp_path: Path) -> None:
    for path in LEARNED.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (path,) = (path for path in tmp_path.iterdir() if path.name.startswith(file))
    put(kind, path)
    with pytest.raises(BadLearnedParameters, match="no regular file"):
        Detector.load(tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "a device"])
@pytest.mark.parametrize("file", ["metaparameters.json", "metaparameters_schema.json"])
def test_parameter_files_are_regular_files(kind: str, file: str, tmp_path: Path) -> None:
    names = ("metaparameters.json", "metaparameters_schema.json")
    for name in names:
        (tmp_path / name).write_text(json.dumps(json.loads((REPOSITORY / name).read_text())))
    metaparameters.load(*(tmp_path / name for name in names))
    put(kind, tmp_path / file)
    with pytest.raises(BadMetaparameters, match="no regular file"):
        metaparameters.load(*(tmp_path / name for name in names))
