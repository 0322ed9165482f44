"""Files that cost a reader far more than they hold: the work is counted by what it touches, and memory is bounded.

How long each takes is measured by tools/fuzz_checkpoints.py, not here.
"""

from __future__ import annotations

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from checkpoint_files import (
    SOUND_BYTES,
    dict_of,
    global_of,
    program,
    sound_tensor,
    tensor_of,
    text,
    with_pickle,
)
from keras_files import conv, dense, write_keras_2
from weightfeat.checkpoint import Checkpoint, read
from weightfeat.checkpoint.walk import Budget
from weightfeat.errors import HostileFile, WeightfeatError

MOST_MEMORY = 100 << 20
LAYERS = [conv("first", 3, 3, 4), dense("output", 4, 5)]


def outcome(path: Path) -> Checkpoint | WeightfeatError:
    """What reading gives, its memory watched."""
    tracemalloc.start()
    try:
        return read(path)
    except WeightfeatError as error:
        return error
    finally:
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        tracemalloc.stop()


def pickled(path: Path, *body: bytes) -> Path:
    return with_pickle(path, b"\x80\x04" + b"".join(body) + b".", {"0": SOUND_BYTES})


def number(value: int) -> bytes:
    """BININT."""
    return b"J" + struct.pack("<i", value)


def name(value: int) -> bytes:
    return b"X\x06\0\0\0" + b"%06d" % value


def module(children: bytes = b"}", attributes: bytes = b"", parameters: bytes = b"}") -> bytes:
    state = b"}(" + text("_parameters") + parameters + text("_buffers") + b"}" + text("_modules") + children
    return global_of("somewhere", "Module") + b")\x81" + state + attributes + b"ub"


HEAD = module(parameters=dict_of({"weight": sound_tensor()}))
STATE = dict_of({"w": sound_tensor()})


def attributes_over_one_large_dict(path: Path) -> Path:
    entries = b"".join(number(at) + b"N" for at in range(20_000))
    large = b"}q\x01(" + entries + number(20_000) + b"h\x01u0"
    attributes = b"".join(name(at) + b"h\x01" for at in range(2_000))
    return pickled(path, large, module(dict_of({"fc": HEAD}), attributes))


def one_module_under_many_names(path: Path) -> Path:
    attributes = b"".join(name(at) + b"h\x02" for at in range(4_000))
    shared = module(parameters=dict_of({"weight": b"h\x02"}), attributes=attributes)
    names = b"".join(name(at) + b"h\x03" for at in range(4_000))
    return pickled(path, sound_tensor(), b"q\x020", shared, b"q\x030", module(b"}(" + names + b"u"))


def states_of_one_parameter(path: Path) -> Path:
    parameter = global_of("torch.nn.parameter", "Parameter") + sound_tensor() + b"\x85\x81q\x060"
    states = b"(\x89NNtq\x070h\x06" + b"h\x07b" * 15_000 + b"0"
    names = b"".join(name(at) + b"h\x06" for at in range(4_000))
    return pickled(path, parameter, states, b"}(", text("w"), sound_tensor(), names, b"u")


def nested_text_again_and_again(path: Path) -> Path:
    inner = b"\x80\x02X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"."
    nested = (
        b"B"
        + struct.pack("<I", len(inner))
        + inner
        + b"\x85q\x080"
        + global_of("torch.storage", "_load_from_bytes")
    )
    return pickled(
        path, nested + b"q\x090", dict_of({"a": b"(" + b"h\x09h\x08R" * 3_000 + b"t", "state_dict": STATE})
    )


def long_name_called(path: Path) -> Path:
    called = b"X" + struct.pack("<I", 1 << 20) + b"m" * (1 << 20) + text("f") + b"\x93q\x0a0"
    return pickled(path, called, dict_of({"a": b"(" + b"h\x0a)R" * 5_000 + b"t", "state_dict": STATE}))


def long_key_above_many(path: Path) -> Path:
    long = b"X" + struct.pack("<I", 1 << 20) + b"K" * (1 << 20)
    small = b"(" + (b"}" + text("w") + b"h\x0bs") * 3_000 + b"t"
    return pickled(path, sound_tensor(), b"q\x0b0", b"}(", long, small, text("state_dict"), STATE, b"u")


def text_again_and_again(path: Path) -> Path:
    line = b"V" + b"a" * 60_000 + b"\n0"
    return pickled(path, line * 60, STATE)


def objects_without_end(path: Path) -> Path:
    made = global_of("collections", "OrderedDict") + b"q\x040(" + b"h\x04)R}b" * 190_000 + b"t"
    return pickled(path, dict_of({"a": made, "state_dict": STATE}))


def description_of_empty_parts(path: Path) -> Path:
    write_keras_2(path, LAYERS, whole=False)
    with h5py.File(path, "r+", libver="latest") as file:
        group = file.create_group("model_weights")
        for layer in ("first", "output"):
            file.move(layer, f"model_weights/{layer}")
        for key in ("layer_names", "keras_version"):
            group.attrs[key] = file.attrs[key]
            del file.attrs[key]
    with h5py.File(path.with_suffix(".long"), "w", libver="latest") as long:
        long.attrs["model_config"] = "[" + "{}," * 400_000 + "{}]"
        with h5py.File(path, "r") as file:
            file.copy("model_weights", long)
    return path.with_suffix(".long")


def pieces_listed_again(path: Path) -> Path:
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group("a")
        file.attrs["layer_names"] = [b"a"]
        group.attrs["weight_names"] = [b"kernel"] * 10
        group.create_dataset("kernel", shape=(5_000, 1), chunks=(1, 1), dtype="f4")[:] = 1
    return path


def sparse_file(path: Path) -> Path:
    os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 8 << 30)
    return path


COSTLY: dict[str, Callable[[Path], Path]] = {
    made.__name__.replace("_", " "): made
    for made in (
        attributes_over_one_large_dict,
        one_module_under_many_names,
        states_of_one_parameter,
        nested_text_again_and_again,
        long_name_called,
        long_key_above_many,
        text_again_and_again,
        objects_without_end,
        description_of_empty_parts,
        pieces_listed_again,
        sparse_file,
    )
}


@pytest.mark.parametrize("made", COSTLY)
def test_a_costly_file_ends_in_an_answer_within_memory(tmp_path: Path, made: str) -> None:
    outcome(COSTLY[made](tmp_path / "model.pt"))


REFUSED = {
    "long name called": "imports a name",
    "objects without end": "instructions",
    "description of empty parts": "parts",
    "pieces listed again": "pieces",
}


@pytest.mark.parametrize("made", REFUSED)
def test_what_costs_more_than_it_holds_is_hostile(tmp_path: Path, made: str) -> None:
    with pytest.raises(HostileFile, match=REFUSED[made]):
        read(COSTLY[made](tmp_path / "model.pt"))


def test_unreadable_tensors_are_counted_and_not_all_told(tmp_path: Path) -> None:
    bad = tensor_of("0", 4, (9,), (1,)) + b"q\x050"
    names = b"".join(name(at) + b"h\x05" for at in range(5_000))
    found = read(pickled(tmp_path / "model.pt", bad, b"}(", text("w"), sound_tensor(), names, b"u"))
    assert len(found.findings) == 51
    assert found.findings[-1].detail == "and 4950 more of this kind"
    assert {finding.kind for finding in found.findings} == {"unreadable-tensor"}


def test_foreign_layers_of_keras_are_counted_and_not_all_told(tmp_path: Path) -> None:
    from keras_files import config

    configuration = config(LAYERS)
    extra = [{"class_name": "Lambda", "config": {"name": f"l{at}"}} for at in range(300)]
    configuration["config"]["layers"] += extra
    found = read(write_keras_2(tmp_path / "model.h5", LAYERS, configuration=configuration))
    assert [finding.detail for finding in found.findings][-1] == "and 250 more of this kind"


def test_names_are_counted_by_their_length() -> None:
    budget = Budget(most_text=1_000)
    for _ in range(10):
        budget.name("x" * 100)
    with pytest.raises(Exception, match="characters"):
        budget.name("x")


def test_pieces_of_values_are_no_larger_than_sixteen_times_the_file(tmp_path: Path) -> None:
    path = write_keras_2(tmp_path / "model.h5", LAYERS)
    import zlib

    with h5py.File(path, "r+") as file:
        group = file["model_weights/output"]
        key = group.attrs["weight_names"][0]
        del group[key]
        data = group.create_dataset(
            key, shape=(4096, 8192), chunks=(1024, 8192), dtype="<f4", compression="gzip"
        )
        packed = zlib.compress(bytes(1024 * 8192 * 4), 1)
        for at in range(4):
            data.id.write_direct_chunk((at * 1024, 0), packed)
    with pytest.raises(HostileFile, match="claim to unpack"):
        read(path)


def test_ten_thousand_layers_over_few_storages_are_hostile(tmp_path: Path) -> None:
    shared = np.ones(4096, "<f4").tobytes()
    tensor = tensor_of("0", 4096, (64, 64), (64, 1)) + b"q\x050"
    names = b"".join(name(at) + b"h\x05" for at in range(10_000))
    path = with_pickle(tmp_path / "model.pt", program(tensor, b"}(", names, b"u"), {"0": shared})
    with pytest.raises(HostileFile, match="share their bytes"):
        read(path)


def test_a_call_costs_more_than_a_number(tmp_path: Path) -> None:
    numbers = b"(" + b"K\x01" * 600_000 + b"t"
    assert (
        len(read(pickled(tmp_path / "a.pt", dict_of({"history": numbers, "w": sound_tensor()}))).tensors) == 1
    )
    many = global_of("builtins", "set") + b"q\x010(" + b"h\x01)R" * 200_000 + b"t"
    with pytest.raises(HostileFile, match="instructions"):
        read(pickled(tmp_path / "b.pt", dict_of({"history": many, "w": sound_tensor()})))
