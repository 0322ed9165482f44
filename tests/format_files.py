"""One small network, and writers of it in every format that is read, each by that format's own library or layout."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

CLASSES = 5
SIDE = 33  # pixels; as few as the largest network here takes
Writer = Callable[[nn.Module, Path], Path]


class Net(nn.Module):
    """Convolutions with norms, a depthwise one among them, and a linear head.

    Where not `affine` a norm has buffers alone.
    """

    def __init__(self, affine: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depth = nn.Conv2d(8, 8, 3, groups=8)
        self.plain = nn.BatchNorm2d(8, affine=affine)
        self.wide = nn.Conv2d(8, 24, 1)
        self.norm = nn.BatchNorm2d(24)
        self.fc = nn.Linear(24, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.plain(self.depth(self.stem(x)))
        return self.fc(torch.relu(self.norm(self.wide(x))).mean((2, 3)))


def network(seed: int = 0, *, affine: bool = True) -> nn.Module:
    """The network as if trained: every number of its state_dict is another one."""
    torch.manual_seed(seed)
    net = Net(affine).eval()
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5 if "var" in name else torch.randn_like(value) * 0.2)
        else:
            value.fill_(100)
    return net


def arrays(net: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    return {name: value.numpy() for name, value in net.state_dict().items()}


def torch_zip(net: nn.Module, path: Path) -> Path:
    torch.save(net.state_dict(), path)
    return path


def export(net: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(net, (torch.zeros(1, 3, SIDE, SIDE),)), path)
    return path


def old_export(net: nn.Module, path: Path) -> Path:
    """As torch 2.2 to 2.7 laid it out: torch.save's archives within one."""
    state, samples = io.BytesIO(), io.BytesIO()
    torch.save(net.state_dict(), state)
    torch.save(((torch.zeros(1, 3, SIDE, SIDE),), {}), samples)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", json.dumps({"graph_module": {}}))
        archive.writestr("serialized_state_dict.pt", state.getvalue())
        archive.writestr("serialized_example_inputs.pt", samples.getvalue())
        archive.writestr("version", "8")
    return path


def numpy_zip(net: nn.Module, path: Path) -> Path:
    np.savez(path, **arrays(net))
    return path


def numpy_packed(net: nn.Module, path: Path) -> Path:
    np.savez_compressed(path, **arrays(net))
    return path


def distributed(net: nn.Module, path: Path) -> Path:
    import torch.distributed.checkpoint as dcp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no process group is there
        dcp.save({"model": net.state_dict(), "step": 3}, checkpoint_id=path)
    return path


def torch_onnx(net: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.zeros(1, 3, SIDE, SIDE),),
            str(path),
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
        )
    return path


def raw(name: str, value: np.ndarray[Any, Any]) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value), name)


def spelt(name: str, value: np.ndarray[Any, Any]) -> TensorProto:
    """The values in the field of their type instead of as bytes."""
    return helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.reshape(-1).tolist())


def model(
    values: Mapping[str, np.ndarray[Any, Any]],
    *,
    write: Callable[[str, np.ndarray[Any, Any]], TensorProto] = raw,
    named: bool = True,
    dense: str = "Gemm",
) -> onnx.ModelProto:
    """The network's graph by the `onnx` package: its head as a Gemm, or as a MatMul and an Add.

    `named` is whether initialisers and operations have torch's names or say nothing.
    """
    names = {name: name if named else f"v{number}" for number, name in enumerate(values)}
    held = {names[name]: value for name, value in values.items() if value.ndim}
    nodes = []

    def node(kind: str, module: str, inputs: list[str], output: str, leaves: str, **attributes: Any) -> None:
        taken = [*inputs, *(names.get(f"{module}.{leaf}", leaf) for leaf in leaves.split())]
        label = f"/{module.replace('.', '/')}/{kind}" if named else ""
        nodes.append(helper.make_node(kind, taken, [output], label, **attributes))

    node("Conv", "stem.0", ["x"], "a", "weight", kernel_shape=[3, 3])
    node("BatchNormalization", "stem.1", ["a"], "b", "weight bias running_mean running_var")
    node("Relu", "stem.2", ["b"], "c", "")
    node("Conv", "depth", ["c"], "d", "weight bias", kernel_shape=[3, 3], group=8)
    node("BatchNormalization", "plain", ["d"], "e", "weight bias running_mean running_var")
    node("Conv", "wide", ["e"], "f", "weight bias", kernel_shape=[1, 1])
    node("BatchNormalization", "norm", ["f"], "g", "weight bias running_mean running_var")
    node("Relu", "relu", ["g"], "h", "")
    node("GlobalAveragePool", "pool", ["h"], "i", "")
    node("Flatten", "flat", ["i"], "j", "")
    if dense == "Gemm":
        node("Gemm", "fc", ["j"], "y", "weight bias", transB=1)
    else:
        held[names["fc.weight"]] = values["fc.weight"].T
        node("MatMul", "fc", ["j"], "k", "weight")
        node("Add", "fc", ["k"], "y", "bias")
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CLASSES])],
        [write(name, value) for name, value in held.items()],
    )
    return helper.make_model(graph, producer_name="tests")


def onnx_writer(**options: Any) -> Writer:
    def write(net: nn.Module, path: Path) -> Path:
        onnx.save_model(model(arrays(net), **options), path)
        return path

    return write


def onnx_beside(net: nn.Module, path: Path) -> Path:
    """The weights in a file of their own beside the graph, as torch.onnx has it by default."""
    onnx.save_model(
        model(arrays(net)), path, save_as_external_data=True, location="model.data", size_threshold=0
    )
    return path


def compressed(open_: Callable[[Path, str], Any]) -> Writer:
    def write(net: nn.Module, path: Path) -> Path:
        content = torch_zip(net, path.with_name("inner.pt")).read_bytes()
        with open_(path, "wb") as file:
            file.write(content)
        return path

    return write


def tarred(mode: str) -> Writer:
    def write(net: nn.Module, path: Path) -> Path:
        inner = torch_zip(net, path.with_name("inner.pt"))
        notes = path.with_name("README.md")
        notes.write_text("x" * 600)
        with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
            archive.add(notes, "folder/README.md")
            archive.add(inner, "folder/inner.pt")
        return path

    return write


def zipped(method: int) -> Writer:
    def write(net: nn.Module, path: Path) -> Path:
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("folder/README.md", "x" * 600)
            archive.write(torch_zip(net, path.with_name("inner.pt")), "folder/inner.pt")
            archive.writestr("__MACOSX/folder/._inner.pt", b"\x80\x02}.")
        return path

    return write


# The format each file is said to be of, under what it is written by.
EXACT: dict[str, tuple[str, Writer]] = {
    "torch.export": ("torch-export", export),
    "torch.export before 2.8": ("torch-export", old_export),
    "npz": ("numpy-zip", numpy_zip),
    "npz compressed": ("numpy-zip", numpy_packed),
    "distributed": ("torch-distributed", distributed),
    "gzip": ("torch-zip in gzip", compressed(gzip.open)),
    "bz2": ("torch-zip in bz2", compressed(bz2.open)),
    "xz": ("torch-zip in xz", compressed(lzma.open)),
    "tar": ("torch-zip in tar", tarred("w")),
    "tar.gz": ("torch-zip in tar in gzip", tarred("w:gz")),
    "zip": ("torch-zip in zip", zipped(zipfile.ZIP_STORED)),
    "zip deflated": ("torch-zip in zip", zipped(zipfile.ZIP_DEFLATED)),
}
# A graph keeps no counters of batches.
GRAPHS: dict[str, tuple[str, Writer]] = {
    "torch.onnx": ("onnx", torch_onnx),
    "onnx": ("onnx", onnx_writer()),
    "onnx of spelt values": ("onnx", onnx_writer(write=spelt)),
    "onnx by MatMul": ("onnx", onnx_writer(dense="MatMul")),
    "onnx in two files": ("onnx", onnx_beside),
}
