"""Files that cost a reader more than they hold, or that two readers take for two formats."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from checkpoint_files import (
    SOUND_BYTES,
    call_of,
    dict_of,
    number,
    program,
    rewrite,
    sound_tensor,
    tensor_of,
    text,
    with_pickle,
)
from weightfeat.checkpoint import read
from weightfeat.checkpoint.audit import foreign_callables
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.pickle_machine import run
from weightfeat.errors import HostileFile

WEIGHT = np.arange(6, dtype="<f4").reshape(3, 2)


def test_many_names_for_one_storage_are_hostile_and_a_few_are_not(tmp_path: Path) -> None:
    def named(times: int) -> Path:
        tensor = tensor_of("0", 4096, (64, 64), (64, 1), kind="HalfStorage")
        body = program(b"](", tensor, b"q\0", b"h\0" * (times - 1), b"e")
        return with_pickle(tmp_path / "model.pt", body, {"0": bytes(8192)})

    assert len(read(named(4)).tensors) == 4
    with pytest.raises(HostileFile, match="share their bytes"):
        read(named(10))


def test_name_of_absurd_length_in_safetensors_is_hostile(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"x" * 512: WEIGHT}, path)
    assert len(read(path).tensors) == 1
    save_file({"a." + "9" * 5000 + ".weight": WEIGHT}, path)
    with pytest.raises(HostileFile, match="5,009 characters"):
        read(path)


def test_a_million_findings_are_counted_and_not_kept() -> None:
    strange = text("\U000e0001" * 100) + b"q\1"
    calls = (call_of("os", "system", number(n), b"h\1", b"h\1", b"h\1") for n in range(2000))
    trace = Trace()
    run(memoryview(program(strange, *calls)), 0, trace)
    tracemalloc.start()
    found = foreign_callables(trace)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len({finding.detail for finding in found}) == len(found) == 51
    assert found[-1].detail == "and 1950 more foreign callables"
    assert peak < 1 << 20


def test_equal_findings_count_once() -> None:
    trace = Trace()
    run(memoryview(program(*(call_of("os", "system", number(n % 60)) for n in range(200)))), 0, trace)
    assert foreign_callables(trace)[-1].detail == "and 10 more foreign callables"


@pytest.mark.parametrize("note", [32, 288])
def test_safetensors_whose_header_length_begins_as_a_pickle_does(tmp_path: Path, note: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"fc.weight": WEIGHT}, path, metadata={"k": "x" * note})
    assert path.read_bytes()[0] == 0x80
    assert path.read_bytes()[1] <= 5
    assert read(path).tensors[0].data.tolist() == WEIGHT.tolist()


def test_safetensors_that_is_a_pickle_too_is_hostile(tmp_path: Path) -> None:
    # The header's length is read as PROTO and the number of a BINFLOAT, a tensor's name as a GLOBAL.
    start = b"\x80\x02G".ljust(8, b"\0")
    header = b'{"xc": {"dtype": "F32",\n"shape": [1],\n"data_offsets": [0, 4]}}'
    path = tmp_path / "model.safetensors"
    path.write_bytes(start + header.ljust(struct.unpack("<Q", start)[0]) + bytes(4))
    with pytest.raises(HostileFile, match="a safetensors file and a pickle"):
        read(path)


@pytest.mark.parametrize("name", ["BYTEORDER", "ByteOrder"])
def test_byte_order_under_a_name_that_only_torch_finds(tmp_path: Path, name: str) -> None:
    contents = {"archive/data.pkl": program(dict_of({"w": sound_tensor()})), "archive/data/0": SOUND_BYTES}
    with pytest.raises(HostileFile, match="byteorder"):
        read(rewrite(tmp_path / "model.pt", {**contents, f"archive/{name}": b"big"}))
