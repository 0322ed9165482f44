"""Keras 3's .keras archives: read as Keras would load them, and never revived."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from keras_files import (
    Layers,
    archive_config,
    conv,
    dense,
    plain,
    values,
    write_keras_2,
    write_keras_archive,
)
from weightfeat.checkpoint import Checkpoint, read
from weightfeat.errors import HostileFile, UnreadableFile, UnsupportedLayout
from weightfeat.network import build

NORM = (
    "norm",
    "BatchNormalization",
    {"beta": values(4), "moving_mean": values(4, seed=1), "moving_variance": values(4, seed=2) ** 2},
)
# Names that are in another order than the layers: "b" and "a" are the first and second convolution.
LAYERS: Layers = [
    plain("input", "InputLayer"),
    conv("b", 3, 3, 4),
    NORM,
    conv("a", 3, 4, 6),
    dense("out", 6, 5),
]


def tensors(found: Checkpoint) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: tensor.data for tensor in found.tensors}


def test_archive_is_read_as_the_same_network_in_hdf5(tmp_path: Path) -> None:
    archive = read(write_keras_archive(tmp_path / "model.keras", LAYERS))
    single = read(write_keras_2(tmp_path / "model.h5", LAYERS))
    assert archive.format == "keras-zip"
    assert archive.ordered
    assert archive.findings == ()
    assert list(tensors(archive)) == list(tensors(single))
    for name, data in tensors(single).items():
        np.testing.assert_array_equal(tensors(archive)[name], data)
    assert archive.module_types["b"] == "keras.layers.Conv2D"
    assert build(archive).fingerprint == build(single).fingerprint


def test_values_stay_mapped_in_the_archive(tmp_path: Path) -> None:
    found = read(write_keras_archive(tmp_path / "model.keras", LAYERS))
    for tensor in found.tensors:
        base: Any = tensor.data
        while isinstance(base, np.ndarray):
            base = base.base
        assert type(base.obj).__name__ == "mmap"


def test_network_within_the_network_keeps_its_place(tmp_path: Path) -> None:
    inner = archive_config([conv("deep", 3, 4, 6)])
    inner["config"]["name"] = "inside"
    whole = archive_config([LAYERS[1], LAYERS[4]])
    whole["config"]["layers"].insert(1, inner)
    path = write_keras_archive(tmp_path / "model.keras", [LAYERS[1], LAYERS[4]], configuration=whole)
    weights = tmp_path / "model.weights.h5"
    with h5py.File(weights, "r+") as file:
        group = file.create_group("layers/functional/layers/conv2d/vars")
        group["0"], group["1"] = values(3, 3, 4, 6), values(6)
    write_keras_archive(
        path, [LAYERS[1], LAYERS[4]], configuration=whole, **{"model.weights.h5": weights.read_bytes()}
    )
    assert [name for name in tensors(read(path)) if name.endswith("weight")] == [
        "b.weight",
        "inside.deep.weight",
        "out.weight",
    ]


CODE = {"class_name": "__lambda__", "config": {"code": "4wEA"}}
LAMBDA = {"class_name": "Lambda", "config": {"name": "evil", "function": CODE}}


def test_lambda_is_a_finding_and_not_run(tmp_path: Path) -> None:
    described = archive_config(LAYERS)
    described["config"]["layers"].insert(2, LAMBDA)
    found = read(write_keras_archive(tmp_path / "model.keras", LAYERS, configuration=described))
    assert {finding.kind for finding in found.findings} == {"foreign-callable"}
    assert any("evil" in finding.detail for finding in found.findings)
    assert len(found.tensors) == 9


def test_name_in_the_weights_that_is_another_layers_is_hostile(tmp_path: Path) -> None:
    path = write_keras_archive(tmp_path / "model.keras", LAYERS)
    weights = tmp_path / "model.weights.h5"
    with h5py.File(weights, "r+") as file:
        file["layers/conv2d/vars"].attrs["name"] = "a"
    with pytest.raises(HostileFile, match="'a' that its config"):
        read(write_keras_archive(path, LAYERS, **{"model.weights.h5": weights.read_bytes()}))


def test_layer_that_is_not_described_is_hostile(tmp_path: Path) -> None:
    described = archive_config(LAYERS[:4])
    with pytest.raises(HostileFile, match="'dense' that its config"):
        read(write_keras_archive(tmp_path / "model.keras", LAYERS, configuration=described))


REFUSED: dict[str, tuple[type[Exception], str, dict[str, bytes | None]]] = {
    "another model within": (HostileFile, "pkl", {"archive/evil.pkl": b"\x80\x02}."}),
    "no JSON": (UnreadableFile, "JSON", {"config.json": b"{'a': 1}"}),
    "a deep nest": (UnreadableFile, "JSON", {"config.json": b"[" * 100_000}),
    "a list": (UnreadableFile, "no network", {"config.json": b"[]"}),
    "no HDF5": (UnreadableFile, "HDF5", {"model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(100)}),
    "a model of its own code": (
        UnsupportedLayout,
        "its own code",
        {"config.json": b'{"class_name": "MyModel", "config": {"width": 3}}'},
    ),
    "a layer without a name": (
        UnreadableFile,
        "class or a name",
        {
            "config.json": b'{"class_name": "F", "config": {"layers": [{"class_name": "Dense", "config": {}}]}}'
        },
    ),
    "weights of numpy": (UnsupportedLayout, "npz", {"model.weights.h5": None, "model.weights.npz": b"PK"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_archive_that_keras_would_not_load_so_is_refused(tmp_path: Path, name: str) -> None:
    error, what, records = REFUSED[name]
    with pytest.raises(error, match=what):
        read(write_keras_archive(tmp_path / "model.keras", LAYERS, **records))


def test_archive_that_was_packed_again_says_so(tmp_path: Path) -> None:
    path = write_keras_archive(tmp_path / "model.keras", LAYERS)
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    with pytest.raises(UnsupportedLayout, match="packed again"):
        read(path)


PROGRAM = """
import sys
import keras
from keras import layers

keras.utils.set_random_seed(0)
image = keras.Input((12, 12, 3))
x = image
for width, options in ((4, {}), (8, {"scale": False}), (6, {"center": False})):
    x = layers.Conv2D(width, 3, use_bias=width == 8)(x)
    x = layers.ReLU()(layers.BatchNormalization(**options)(x))
x = layers.SeparableConv2D(8, 3)(x)
x = layers.DepthwiseConv2D(3)(x)
x = keras.Sequential([layers.Conv2D(4, 1), layers.BatchNormalization()], name="inside")(x)
x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
model = keras.Model(image, layers.Dense(5, name="a_head")(x))
for weight in model.weights:
    if "seed" not in weight.path:
        weight.assign(weight + keras.random.uniform(weight.shape, 0.1, 0.2))
for path in sys.argv[1:]:
    model.save(path)
"""


@pytest.mark.e2e
@pytest.mark.skipif(find_spec("keras") is None, reason="keras is not installed")
def test_archive_of_keras_itself_holds_what_its_hdf5_file_holds(tmp_path: Path) -> None:
    paths = [tmp_path / "model.keras", tmp_path / "model.h5"]
    subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(os.fspath, paths)],
        check=True,
        capture_output=True,
        env={**os.environ, "KERAS_BACKEND": "torch"},
    )
    archive, single = map(read, paths)
    assert {finding.kind for finding in archive.findings} <= {"note"}
    ours = {name.rpartition(".")[::2]: data for name, data in tensors(archive).items()}
    theirs = list(tensors(single).values())
    assert len(ours) == len(theirs)
    for data, wanted in zip(ours.values(), theirs, strict=True):
        np.testing.assert_array_equal(data, wanted)
    assert build(archive).fingerprint == build(single).fingerprint
