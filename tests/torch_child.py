"""Asks torch, in a process of its own that may neither write, run nor connect, what it makes of a file.

The process imports torch once and forks for every question, so that what one file does to it ends with that file.
Usage of the child: lines of JSON in ({"paths": [...], "mode": ...}), lines of JSON out, an answer a path.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]
"""(dtype, shape, bytes in row-major order) by name."""


@dataclass(frozen=True)
class Answer:
    """The tensors torch loaded, None where it refused, with what it said."""

    tensors: Tensors | None
    said: str = ""


class TorchChild:
    """A running child; `ask` it about files."""

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, paths: Sequence[Path], mode: str) -> list[Answer]:
        """What torch makes of each file.

        `mode`: "safe" (torch.load, weights_only), "full" (torch.load without), both of a mapping of tensors, or, after
        "nested ", of the one that it holds as "state_dict" where it does;
        "module" (torch.load of a whole module) and "script" (torch.jit.load), both of what they give for an image of
        12 x 12 made of one seed, under the name "output".
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"paths": [str(path) for path in paths], "mode": mode}) + "\n")
        self._process.stdin.flush()
        return [_answer(json.loads(self._process.stdout.readline())) for _ in paths]

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@contextmanager
def torch_child() -> Iterator[TorchChild]:
    child = TorchChild()
    try:
        yield child
    finally:
        child.close()


def _answer(said: dict[str, Any]) -> Answer:
    if "error" in said:
        return Answer(None, said["error"])
    return Answer(
        {
            name: (dtype, tuple(shape), base64.b64decode(raw))
            for name, (dtype, shape, raw) in said["tensors"].items()
        }
    )


def image() -> np.ndarray:
    """The images that networks are asked about."""
    return np.random.default_rng(0).random((2, 3, 12, 12), dtype=np.float32)


# What follows runs in the child.

_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.",
    "socket.",
    "os.remove",
    "os.rename",
)


def _guard(event: str, args: tuple[Any, ...]) -> None:
    named = event == "open" and isinstance(args[0], str | bytes)
    writes = named and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if event.startswith(_FORBIDDEN) or writes:
        raise PermissionError(f"{event} in the child that loads hostile files")


def _described(value: Any) -> dict[str, Any]:
    import torch

    held = {}
    for name, tensor in value.items():
        if isinstance(tensor, torch.Tensor):
            plain = torch.empty(tensor.numel(), dtype=tensor.dtype)
            plain.copy_(tensor.detach().resolve_neg().resolve_conj().reshape(-1))
            raw = plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
            held[str(name)] = (str(tensor.dtype)[6:], list(tensor.shape), base64.b64encode(raw).decode())
    return {"tensors": held}


def _load(path: str, mode: str) -> dict[str, Any]:
    import torch

    if mode.endswith(("safe", "full")):
        loaded = torch.load(path, weights_only=mode.endswith("safe"))
        if mode.startswith("nested") and isinstance(loaded, dict) and "state_dict" in loaded:
            loaded = loaded["state_dict"]
        if not isinstance(loaded, dict):
            return {"error": f"it is a {type(loaded).__name__}"}
        return _described(loaded)
    network = torch.jit.load(path) if mode == "script" else torch.load(path, weights_only=False)
    with torch.no_grad():
        return _described({"output": network.eval()(torch.from_numpy(image()))})


def _answered(path: str, mode: str) -> dict[str, Any]:
    try:
        return _load(path, mode)
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def _forked(paths: Sequence[str], mode: str) -> list[str]:
    """The answers of a fork, as lines."""
    import os
    import resource

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
            sys.addaudithook(_guard)
            with os.fdopen(writing, "w") as pipe:
                for path in paths:
                    print(json.dumps(_answered(path, mode)), file=pipe, flush=True)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    os.waitpid(child, 0)
    return lines + [json.dumps({"error": "the process died"})] * (len(paths) - len(lines))


def _serve() -> None:
    import torch

    torch.set_num_threads(1)
    for line in sys.stdin:
        question = json.loads(line)
        for answer in _forked(question["paths"], question["mode"]):
            print(answer, flush=True)


if __name__ == "__main__":
    _serve()
