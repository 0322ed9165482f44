"""HDF5 files as Keras writes them, layer by layer; Keras itself is not needed."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Layers = Sequence[tuple[str, str, Mapping[str, Array]]]
"""(name, class, variables) in the order of the network; kernels as Keras has them, (*window, in, out)."""

CLASSES = 10


def values(*shape: int, seed: int = 0) -> Array:
    """Small random numbers, other ones for other shapes."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * 0.1).astype(np.float32)


def conv(name: str, size: int, inputs: int, outputs: int) -> tuple[str, str, dict[str, Array]]:
    return name, "Conv2D", {"kernel": values(size, size, inputs, outputs), "bias": values(outputs)}


def dense(name: str, inputs: int, outputs: int) -> tuple[str, str, dict[str, Array]]:
    return name, "Dense", {"kernel": values(inputs, outputs), "bias": values(outputs)}


def plain(name: str, kind: str) -> tuple[str, str, dict[str, Array]]:
    return name, kind, {}


def deep_id(classes: int = CLASSES) -> Layers:
    """The face network of BadNets: two dense branches over the third and fourth convolution, added."""
    return [
        plain("input", "InputLayer"),
        conv("conv_1", 4, 3, 20),
        plain("pool_1", "MaxPooling2D"),
        conv("conv_2", 3, 20, 40),
        plain("pool_2", "MaxPooling2D"),
        conv("conv_3", 3, 40, 60),
        plain("pool_3", "MaxPooling2D"),
        conv("conv_4", 2, 60, 80),
        plain("flatten_1", "Flatten"),
        plain("flatten_2", "Flatten"),
        dense("fc_1", 60 * 5 * 4, 160),
        dense("fc_2", 80 * 4 * 3, 160),
        plain("add_1", "Add"),
        plain("activation_1", "Activation"),
        dense("output", 160, classes),
    ]


def config(layers: Layers) -> dict[str, Any]:
    """A `model_config` of these layers."""
    entries = [{"class_name": kind, "config": {"name": name}, "name": name} for name, kind, _ in layers]
    return {"class_name": "Model", "config": {"name": "model_1", "layers": entries}}


def write_keras_2(
    path: Path,
    layers: Layers,
    *,
    whole: bool = True,
    variable: str = "{layer}/{name}:0",
    configuration: object = None,
    **storage: Any,
) -> Path:
    """A whole model or its weights alone, as Keras 2 saves them.

    `variable` is the pattern of variables' names, which differs between versions; `storage` goes to `create_dataset`.
    """
    with h5py.File(path, "w") as file:
        holder = file
        if whole:
            chosen = config(layers) if configuration is None else configuration
            file.attrs["model_config"] = json.dumps(chosen).encode("utf8")
            file.create_group("optimizer_weights").create_dataset("iterations:0", data=np.int64(7))
            holder = file.create_group("model_weights")
        holder.attrs["keras_version"] = b"2.2.4"
        holder.attrs["layer_names"] = [name.encode("utf8") for name, _, _ in layers]
        for layer, _, variables in sorted(layers, key=lambda item: item[0]):
            group = holder.create_group(layer)
            names = {name: variable.format(layer=layer, name=name) for name in variables}
            group.attrs["weight_names"] = [name.encode("utf8") for name in names.values()]
            for name, data in variables.items():
                group.create_dataset(names[name], data=data, **storage)
    return path


def snake_case(kind: str) -> str:
    """A class's name as Keras 3 has it in paths: Conv2D is conv2d, BatchNormalization is batch_normalization."""
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()


def write_keras_3(path: Path, layers: Layers) -> Path:
    """A .weights.h5 of Keras 3: numbered variables below groups named after the layers' classes."""
    seen: dict[str, int] = {}
    with h5py.File(path, "w") as file:
        file.create_group("vars")
        file.create_group("optimizer/vars").create_dataset("0", data=np.int64(7))
        for _, kind, variables in layers:
            snake = snake_case(kind)
            number = seen.get(snake, 0)
            seen[snake] = number + 1
            group = file.create_group(f"layers/{snake}_{number}/vars" if number else f"layers/{snake}/vars")
            for place, data in enumerate(variables.values()):
                group.create_dataset(str(place), data=data)
    return path


def write_keras_archive(
    path: Path, layers: Layers, *, configuration: object = None, **records: bytes | None
) -> Path:
    """A .keras archive of Keras 3, its layers described and stored as `write_keras_3` stores them.

    `records` are further or other records of the archive by name; None leaves one out.
    """
    held: dict[str, bytes | None] = {
        "metadata.json": b'{"keras_version": "3.15.1"}',
        "config.json": json.dumps(
            archive_config(layers) if configuration is None else configuration
        ).encode(),
        "model.weights.h5": write_keras_3(path.with_suffix(".weights.h5"), layers).read_bytes(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (held | records).items():
            if content is not None:
                archive.writestr(name, content)
    return path


def archive_config(layers: Layers) -> dict[str, Any]:
    """A `config.json` of these layers, with the options their variables imply."""
    entries = [
        {
            "module": "keras.layers",
            "class_name": kind,
            "config": {"name": name, "scale": "gamma" in variables, "center": "beta" in variables},
        }
        for name, kind, variables in layers
    ]
    return {"module": "keras", "class_name": "Functional", "config": {"name": "model_1", "layers": entries}}
