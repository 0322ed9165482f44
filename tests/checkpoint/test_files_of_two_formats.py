"""A file in which two readers find two networks is refused, and so is one whose names contradict Keras's order."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from checkpoint_files import SOUND_BYTES, dict_of, program, saved, sound_tensor, with_pickle
from keras_files import config, conv, dense, values, write_keras_2, write_keras_3
from weightfeat.checkpoint import read
from weightfeat.checkpoint.zip_archive import ends_as_zip
from weightfeat.errors import HostileFile

NORM = {
    "gamma": values(4) + 1,
    "beta": values(4, seed=1),
    "moving_mean": values(4, seed=2),
    "moving_variance": np.abs(values(4, seed=3)) + 1,
}
LAYERS = [conv("first", 3, 3, 4), ("norm", "BatchNormalization", NORM), dense("output", 4, 5)]


def torch_zip(path: Path) -> Path:
    return with_pickle(path, program(dict_of({"w": sound_tensor()})), {"0": SOUND_BYTES})


def legacy(path: Path) -> Path:
    path.write_bytes(saved({"w": np_tensor()}, _use_new_zipfile_serialization=False))
    return path


def np_tensor() -> object:
    import torch

    return torch.arange(4.0).reshape(2, 2)


def safetensors(path: Path) -> Path:
    save_file({"w": np.arange(400, dtype="<f4").reshape(20, 20), "z": np.zeros(4096, "<f4")}, path)
    return path


def keras(path: Path) -> Path:
    return write_keras_2(path, LAYERS)


FIRST: dict[str, Callable[[Path], Path]] = {"legacy": legacy, "safetensors": safetensors, "hdf5": keras}


@pytest.mark.parametrize("first", FIRST)
def test_a_zip_archive_behind_another_format_is_refused(tmp_path: Path, first: str) -> None:
    path = FIRST[first](tmp_path / "model")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(HostileFile, match="ends as a zip archive"):
        read(path)


@pytest.mark.parametrize("first", ["legacy", "zip"])
@pytest.mark.parametrize("at", [512, 2048, 65536])
def test_an_hdf5_file_behind_another_format_is_refused(tmp_path: Path, first: str, at: int) -> None:
    path = {"legacy": legacy, "zip": torch_zip}[first](tmp_path / "model")
    whole = path.read_bytes()
    if first == "legacy":
        path.write_bytes(whole.ljust(at, b"\0") + keras(tmp_path / "k.h5").read_bytes())
        if len(whole) > at:
            return
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("archive/data/9", bytes(at * 2))
        raw = bytearray(path.read_bytes())
        raw[at : at + 8] = b"\x89HDF\r\n\x1a\n"
        path.write_bytes(raw)
        assert at < len(raw)
    with pytest.raises(HostileFile, match=f"HDF5 file begins at its byte {at}"):
        read(path)


def test_a_signature_among_weights_elsewhere_is_none(tmp_path: Path) -> None:
    path = with_pickle(
        tmp_path / "model.pt",
        program(dict_of({"w": sound_tensor()})),
        {"0": SOUND_BYTES, "1": bytes(1000) + b"\x89HDF\r\n\x1a\n" + b"PK\x05\x06" + bytes(100)},
    )
    assert len(read(path).tensors) == 1


def test_an_end_record_needs_to_end_the_file() -> None:
    end = b"PK\x05\x06" + bytes(18)
    assert ends_as_zip(memoryview(b"x" * 50 + end))
    assert not ends_as_zip(memoryview(b"x" * 50 + end + b"x"))
    assert ends_as_zip(memoryview(b"x" * 50 + end[:-2] + b"\x03\0abc"))
    assert not ends_as_zip(memoryview(b"PK\x05\x06"))


def test_bytes_before_the_first_record_are_refused(tmp_path: Path) -> None:
    path = torch_zip(tmp_path / "model.pt")
    with zipfile.ZipFile(path) as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
    path.write_bytes(b"PK\x03\x04" + bytes(60))
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    with pytest.raises(HostileFile, match="belong to none"):
        read(path)


def test_a_zip_archive_with_the_header_of_safetensors_is_refused(tmp_path: Path) -> None:
    # "PK\3\4" as the length of a header is 67 MB: a hole in the file, which takes no room.
    path = tmp_path / "model.safetensors"
    with open(path, "wb") as file:
        file.write(b"PK\x03\x04\0\0\0\0{}")
        file.truncate(0x04034B50 + 4096)
    with pytest.raises(HostileFile, match="a zip archive and a safetensors file"):
        read(path)


# Keras goes by position


def changed(path: Path, change: Callable[[h5py.File], None]) -> Path:
    with h5py.File(keras(path), "r+") as file:
        change(file)
    return path


def two_layouts(file: h5py.File) -> None:
    for name, value in file["model_weights"].attrs.items():
        file.attrs[name] = value
    for name in file["model_weights"]:
        file.copy(file["model_weights"][name], file, name)


def swapped_names(file: h5py.File) -> None:
    group = file["model_weights/norm"]
    names = list(group.attrs["weight_names"])
    group.attrs["weight_names"] = [names[at] for at in (1, 2, 0, 3)]


def renamed_layer(file: h5py.File) -> None:
    group = file["model_weights"]
    group.move("first", "depthwise_first")
    group.attrs["layer_names"] = [b"depthwise_first", b"norm", b"output"]


def swapped_layers(file: h5py.File) -> None:
    file["model_weights"].attrs["layer_names"] = [b"output", b"norm", b"first"]


CONTRADICTIONS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "two layouts": (two_layouts, "two networks"),
    "names against the order of a layer's values": (swapped_names, "another order than Keras"),
    "a layer that the description lacks": (renamed_layer, "no layer 'depthwise_first'"),
    "layers against the description's order": (swapped_layers, "another order than in its description"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_keras_would_read_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    change, reason = CONTRADICTIONS[name]
    with pytest.raises(HostileFile, match=reason):
        read(changed(tmp_path / "model.h5", change))


@pytest.mark.parametrize("second", ["_layer_checkpoint_dependencies", "layer_names"])
def test_two_containers_of_layers_are_refused(tmp_path: Path, second: str) -> None:
    path = write_keras_3(tmp_path / "model.weights.h5", LAYERS)
    with h5py.File(path, "r+") as file:
        if second == "layer_names":
            file.attrs["layer_names"] = [b"layers"]
        else:
            file.copy(file["layers"], file, second)
    with pytest.raises(HostileFile, match="two networks"):
        read(path)


def test_a_class_named_outside_the_list_of_layers_changes_nothing(tmp_path: Path) -> None:
    other = {"class_name": "DepthwiseConv2D", "config": {"name": "first"}}
    configuration = {"before": other, **config(LAYERS), "after": [other]}
    found = read(write_keras_2(tmp_path / "model.h5", LAYERS, configuration=configuration))
    assert found.tensors[0].shape == (4, 3, 3, 3)
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file.attrs["training_config"] = json.dumps(other)
    assert read(tmp_path / "model.h5").tensors[0].shape == (4, 3, 3, 3)


def with_chunk(path: Path, chunk: bytes) -> Path:
    """A model whose head's kernel, (4, 5), lies in one gzip chunk of (8, 8) that holds these bytes."""
    keras(path)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/output"]
        name = group.attrs["weight_names"][0]
        del group[name]
        data = group.create_dataset(name, shape=(4, 5), chunks=(8, 8), maxshape=(None, None), dtype="<f4",
                                    compression="gzip")  # fmt: skip
        data.id.write_direct_chunk((0, 0), chunk)
    return path


def test_bytes_behind_a_pieces_gzip_data_are_refused(tmp_path: Path) -> None:
    packed = zlib.compress(np.zeros((8, 8), "<f4").tobytes())
    path = with_chunk(tmp_path / "model.h5", packed + b"x" * 8)
    with pytest.raises(HostileFile, match="behind its gzip data"):
        read(path)


def test_a_piece_at_an_edge_that_may_be_stored_plainly_is_refused(tmp_path: Path) -> None:
    path = with_chunk(tmp_path / "model.h5", np.ones((8, 8), "<f4").tobytes())
    with pytest.raises(HostileFile, match="two readers"):
        read(path)
