"""What files of less than 5 MB that are built to exhaust a reader cost: seconds of CPU and megabytes, a row each.

Usage: python benchmarks/format_limits.py [NAME ...]
Each is read in a process of its own; the cost is what reading adds to a process that has read a small sound file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint import read
from weightfeat.errors import WeightfeatError

MIB = 1 << 20
_LARGEST = 5_000_000


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx(graph: bytes) -> bytes:
    return b"\x08\x09" + field(7, graph)


def node(inputs: list[str], output: str, kind: str) -> bytes:
    taken = b"".join(field(1, name.encode()) for name in inputs)
    return field(1, taken + field(2, output.encode()) + field(4, kind.encode()))


def fields() -> bytes:
    """As many of the smallest fields as there is room for."""
    return onnx(b"\x0a\x00" * (_LARGEST // 2 - 10))


def nodes() -> bytes:
    """A chain of as many operations as the limit lets pass."""
    made = [node([f"v{number}"], f"v{number + 1}", "Relu") for number in range(45_000)]
    ends = field(11, field(1, b"v0")) + field(12, field(1, b"v45000"))
    return onnx(b"".join(made) + ends)


def weights() -> bytes:
    """Many small weights, each of a layer of its own."""
    made = []
    for number in range(9_000):
        tensor = b"\x08\x02\x08\x02\x10\x01" + field(8, f"w{number}".encode()) + field(9, bytes(16))
        made += [field(5, tensor), node([f"v{number}", f"w{number}"], f"v{number + 1}", "MatMul")]
    return onnx(b"".join(made) + field(11, field(1, b"v0")) + field(12, field(1, b"v9000")))


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as held:
        for name, content in members.items():
            held.writestr(name, content)
    return out.getvalue()


def array(value: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, value)
    return out.getvalue()


def tape() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as held:
        for number in range(9_500):
            held.addfile(tarfile.TarInfo(f"f{number}"))
    return out.getvalue()[:_LARGEST]


def exported() -> bytes:
    """Many weights that share one record, each of a module of buffers alone."""
    meta = {"dtype": 7, "sizes": [], "strides": [], "storage_offset": {"as_int": 0}, "layout": 7}
    entry = {"path_name": "w", "is_param": False, "tensor_meta": meta}
    config = {f"m{number}.b": entry for number in range(30_000)}
    members = {
        "a/archive_format": b"pt2",
        "a/data/weights/model_weights_config.json": json.dumps(
            {"config": config}, separators=(",", ":")
        ).encode(),
        "a/data/weights/w": bytes(4),
    }
    return archive(members)


def described(config: bytes) -> bytes:
    return archive({"config.json": config, "model.weights.h5": b"\x89HDF\r\n\x1a\n"})


CASES: dict[str, Callable[[], bytes]] = {
    "gzip of zeros": lambda: gzip.compress(bytes(1 << 30))[:_LARGEST],
    "bz2 of zeros": lambda: bz2.compress(bytes(1 << 30)),
    "xz of zeros": lambda: lzma.compress(bytes(1 << 30)),
    "gzip of a network's start and zeros": lambda: gzip.compress(b"\x80\x02" + bytes(1 << 28)),
    "bz2 of noise": lambda: bz2.compress(np.random.default_rng(0).bytes(4 * MIB)),
    "many empty streams": lambda: gzip.compress(b"") * 250_000,
    "zip of many files": lambda: archive({f"f{n}": b"" for n in range(45_000)}),
    "zip of many models": lambda: archive(
        {f"f{n}": b"\x80\x02" + bytes(5000) for n in range(9_000)}, zipfile.ZIP_DEFLATED
    ),
    "tar of many files": tape,
    "npz of zeros": lambda: archive({"w.npy": array(np.zeros(1 << 28, "u1"))}, zipfile.ZIP_DEFLATED),
    "npz of many arrays": lambda: archive(
        {f"{n}.npy": array(np.zeros(1, "f4")) for n in range(19_000)}, zipfile.ZIP_DEFLATED
    ),
    "npz that just passes": lambda: archive({"w.npy": array(np.zeros(30 << 20, "u1"))}, zipfile.ZIP_DEFLATED),
    "onnx of many fields": fields,
    "onnx of many operations": nodes,
    "onnx of many weights": weights,
    "export of many weights": exported,
    "keras of dicts": lambda: described(b'{"a":[' + b'{"":0},' * 590_000 + b"0]}"),
    "keras of layers": lambda: described(
        json.dumps({"config": {"layers": [{"class_name": "A", "config": {"name": "a"}}] * 70_000}}).encode()
    ),
}  # fmt: skip


def most_memory() -> float:
    """Megabytes this process ever had at once; what the kernel keeps for getrusage is its parent's at first."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def cost(path: str) -> None:
    """Printed: seconds, megabytes, outcome."""
    sound = Path(path).with_name("sound.npz")
    np.savez(sound, w=np.zeros((3, 2), "f4"))
    read(sound)
    before, start = most_memory(), time.process_time()
    try:
        outcome = f"{len(read(Path(path)).tensors)} tensors"
    except WeightfeatError as error:
        outcome = f"{type(error).__name__}: {error.what[:60]}"
    seconds = time.process_time() - start
    print(f"{seconds:.2f} {most_memory() - before:.0f} {outcome}")


def main(names: list[str]) -> None:
    print(f"{'case':<40} {'bytes':>9} {'s':>6} {'MB':>5}  outcome")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hostile"
        for name in names or CASES:
            path.write_bytes(CASES[name]())
            command = [sys.executable, __file__, "--cost", os.fspath(path)]
            told = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds, megabytes, outcome = [*told.stdout.split(" ", 2), "?", "?", told.stderr[-200:]][:3]
            print(
                f"{name:<40} {path.stat().st_size:>9,} {seconds:>6} {megabytes:>5}  {outcome.strip()}",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--cost"]:
        cost(sys.argv[2])
    else:
        main(sys.argv[1:])
