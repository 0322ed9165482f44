"""Small networks and the files that hold them, one writer a layout."""

from __future__ import annotations

import importlib.util
import io
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

SHARED = Path(__file__).resolve().parents[2] / "shared"

_SOURCE = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act = torch.nn.functional.relu

    def forward(self, x):
        return torch.relu(self.bn1(self.conv1(x))) + x

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.ModuleList([Block(8), Block(8)])
        self.gain = nn.Parameter(torch.randn(8, 1, 1))
        self.fc = nn.Linear(8, 5)
        self.norm_layer = nn.BatchNorm2d

    def forward(self, x):
        x = self.stem(x)
        for block in self.body:
            x = block(x)
        return self.fc((x * self.gain).mean((2, 3)))
"""

MODULE_NAME = "network_that_exists_nowhere"


@contextmanager
def vanishing_network(folder: Path) -> Iterator[nn.Module]:
    """A network whose classes are importable inside the block and gone, source and all, after it."""
    source = folder / f"{MODULE_NAME}.py"
    source.write_text(_SOURCE)
    spec = importlib.util.spec_from_file_location(MODULE_NAME, source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
        torch.manual_seed(0)
        network: nn.Module = module.Net().eval()
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                if buffer.is_floating_point():
                    buffer.copy_(torch.rand_like(buffer) + len(name))
        yield network
    finally:
        del sys.modules[MODULE_NAME]
        source.unlink()


def _zip(protocol: int) -> Callable[[object, Path], None]:
    return lambda network, path: torch.save(network, path, pickle_protocol=protocol)


def _legacy(network: object, path: Path) -> None:
    torch.save(network, path, _use_new_zipfile_serialization=False)


def _bare(network: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(network))


def _scripted(network: nn.Module, path: Path) -> None:
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 8, 8)), path)


def _safetensors(network: nn.Module, path: Path) -> None:
    save_file(network.state_dict(), path)


# Files that hold the module tree itself.
WHOLE: dict[str, Callable[[nn.Module, Path], None]] = {
    "zip protocol 2": _zip(2),
    "zip protocol 3": _zip(3),
    "zip protocol 4": _zip(4),
    "zip protocol 5": _zip(5),
    "legacy": _legacy,
    "bare pickle": _bare,
    "whole in a dict": lambda n, p: torch.save({"epoch": 3, "net": n, "best": 0.9}, p),
    "DataParallel": lambda n, p: torch.save(nn.DataParallel(n), p),
    "nested DataParallel legacy": lambda n, p: _legacy({"model": nn.DataParallel(nn.DataParallel(n))}, p),
}

# Files that hold names and tensors only.
FLAT: dict[str, Callable[[nn.Module, Path], None]] = {
    "state_dict": lambda n, p: torch.save(n.state_dict(), p),
    "state_dict protocol 5": lambda n, p: torch.save(n.state_dict(), p, pickle_protocol=5),
    "plain dict": lambda n, p: torch.save(dict(n.state_dict()), p),
    "legacy state_dict": lambda n, p: _legacy(n.state_dict(), p),
    "bare state_dict": lambda n, p: _bare(n.state_dict(), p),
    "checkpoint": lambda n, p: torch.save(_checkpoint(n), p),
    "parallel state_dict": lambda n, p: torch.save(nn.DataParallel(n).state_dict(), p),
    "compiled state_dict": lambda n, p: torch.save(_renamed(n, "module._orig_mod."), p),
    "parameters for values": lambda n, p: torch.save(n.state_dict(keep_vars=True), p),
}

SCRIPTED: dict[str, Callable[[nn.Module, Path], None]] = {
    "torchscript": _scripted,
}
UNORDERED: dict[str, Callable[[nn.Module, Path], None]] = {"safetensors": _safetensors}


def _checkpoint(network: nn.Module) -> dict[str, object]:
    optimizer = torch.optim.Adam(network.parameters())
    network.train()
    network(torch.zeros(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    network.eval()
    history = [{"loss": 0.5, "accuracy": np.float64(0.75)}]
    return {
        "epoch": 9,
        "optimizer": optimizer.state_dict(),
        "history": history,
        "state_dict": network.state_dict(),
    }


def _renamed(network: nn.Module, prefix: str) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((prefix + name, value) for name, value in network.state_dict().items())


def bits(tensor: torch.Tensor) -> bytes:
    """The elements of a tensor in row-major order, as bytes."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


# Building files by hand, for the abuse that torch.save will not write


def records(path: Path) -> dict[str, bytes]:
    """The content of every record of a zip file."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def rewrite(path: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip file of these records, as another zip writer has it."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def with_pickle(path: Path, data: bytes, storages: dict[str, bytes] | None = None) -> Path:
    """An archive in torch.save's layout around a pickle given as bytes."""
    named = {f"archive/data/{key}": content for key, content in (storages or {}).items()}
    return rewrite(path, {"archive/data.pkl": data, **named, "archive/version": b"3\n"})


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    """LONG1."""
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def global_of(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def call_of(module: str, name: str, *args: bytes) -> bytes:
    return global_of(module, name) + tuple_of(*args) + b"R"


def storage_of(key: str, numel: int, kind: str = "FloatStorage") -> bytes:
    return tuple_of(text("storage"), global_of("torch", kind), text(key), text("cpu"), number(numel)) + b"Q"


def tensor_of(
    key: str,
    numel: int,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int = 0,
    kind: str = "FloatStorage",
) -> bytes:
    """The pickle of a tensor with any geometry claimed."""
    return call_of(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage_of(key, numel, kind),
        number(offset),
        tuple_of(*map(number, shape)),
        tuple_of(*map(number, stride)),
        b"\x89",
        call_of("collections", "OrderedDict"),
    )


def dict_of(items: dict[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def program(*parts: bytes) -> bytes:
    """A pickle of protocol 2 with this body."""
    return b"\x80\x02" + b"".join(parts) + b"."


def sound_tensor(key: str = "0") -> bytes:
    """A tensor of two by two over sixteen bytes."""
    return tensor_of(key, 4, (2, 2), (2, 1))


SOUND_BYTES = np.arange(4, dtype="<f4").tobytes()


def saved(value: object, **options: object) -> bytes:
    """What torch.save writes for a value."""
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()
