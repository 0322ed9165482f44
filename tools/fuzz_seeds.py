"""Small sound model files, one or more of each format, for the fuzzing to start from."""

from __future__ import annotations

import pickle
import tempfile
import warnings
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np


def seeds() -> dict[str, list[bytes]]:
    """Files by format; needs torch."""
    import torch
    from safetensors.torch import save
    from torch import nn

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)
    ).eval()
    state = network.state_dict()
    checkpoint = {"epoch": 3, "state_dict": state, "args": {"lr": 0.1}}

    def saved(value: object, *, legacy: bool = False, protocol: int = 2) -> bytes:
        buffer = BytesIO()
        torch.save(value, buffer, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
        return buffer.getvalue()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit says that it is deprecated
        scripts = [torch.jit.script(network), torch.jit.trace(network, torch.zeros(1, 3, 3, 3))]  # type: ignore[no-untyped-call]
        scripted = [_of_file(lambda path, script=script: torch.jit.save(script, path)) for script in scripts]
    return {
        "torch-zip": [saved(state), saved(network), saved(checkpoint, protocol=4)],
        "torch-legacy": [saved(state, legacy=True), saved(network, legacy=True)],
        "pickle": [pickle.dumps(dict(state)), pickle.dumps(network, protocol=0)],
        "torchscript": scripted,
        "safetensors": [save(state, metadata={"format": "pt"})],
        "keras-hdf5": [_of_file(_write_keras)],
    }


def _of_file(write: object) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network"
        write(path)  # type: ignore[operator]
        return path.read_bytes()


def _write_keras(path: Path) -> None:
    values = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"conv", b"fc"]
        for layer, shape in (("conv", (3, 3, 3, 4)), ("fc", (4, 3))):
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [b"kernel", b"bias"]
            inner.create_dataset(
                "kernel", data=values.standard_normal(shape).astype("f4"), compression="gzip"
            )
            inner.create_dataset("bias", data=values.standard_normal(shape[-1]).astype("f4"))
