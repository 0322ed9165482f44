"""Keras's HDF5 files: whole models and weights of Keras 1 and 2 (and 3's .h5), and Keras 3's .weights.h5."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from weightfeat.checkpoint import faults
from weightfeat.checkpoint.faults import Abuse, Malformed, Unreadable, Unsupported
from weightfeat.checkpoint.hdf5_values import ValueReader
from weightfeat.checkpoint.keras_config import description, refuse_other_layers
from weightfeat.checkpoint.keras_names import Variable, positional, renamed
from weightfeat.checkpoint.modules import Found
from weightfeat.checkpoint.storages import StoredArray
from weightfeat.checkpoint.types import Finding, StoredTensor

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# A sound file is listed in a fraction of a second and some fifty megabytes.
_CPU_SECONDS = 20
_WALL_SECONDS = 300
_MEMORY = 4 << 30
_LISTING = Path(__file__).with_name("hdf5_listing.py")


def read_hdf5(path: Path, data: memoryview) -> Found:
    """The network of a Keras file under torch's names and axes.

    Raises Malformed for what the HDF5 library refuses or dies of, Unsupported where no Keras network is in the file,
    Abuse where links or datasets lead out of it or claim far more than it holds.
    """
    listing = listing_of(path)
    described = description(*listing["texts"])
    if listing["ordered"]:
        named = [
            layer["name"] for layer in listing["layers"] if layer["variables"] and not layer.get("loose")
        ]
        refuse_other_layers(described, named)
    values = ValueReader(data)
    tensors: list[StoredTensor] = []
    findings = list(described.findings)
    for layer in listing["layers"]:
        variables = list(variables_of(layer, values, findings))
        name, kind = layer["name"], described.classes.get(layer["name"], "")
        if not listing["ordered"]:
            variables = positional(variables)
        tensors += renamed(name, variables, kind=kind, theano_order=described.theano_order)
    if not listing["ordered"]:
        findings.append(Finding("ambiguous-order", "Keras 3's weights files keep no order of layers"))
    check(tensors)
    types = {name: f"keras.layers.{kind}" for name, kind in described.classes.items()}
    return Found(tuple(tensors), MappingProxyType(types), tuple(findings))


def listing_of(path: Path) -> dict[str, Any]:
    """What `hdf5_listing` says of the file; its fault raised as ours."""
    # Isolated: the program needs h5py and nothing of the folder it is started in.
    command = [sys.executable, "-I", str(_LISTING), os.fspath(path), str(_CPU_SECONDS), str(_MEMORY)]
    # Each thread of a linear algebra library would reserve memory that counts against the limit.
    surroundings = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_WALL_SECONDS, check=False, env=surroundings
        )
    except subprocess.TimeoutExpired:
        raise Malformed("the HDF5 library does not come to an end with it") from None
    if done.returncode:
        raise Malformed(_died(done.returncode, done.stderr.decode("utf-8", "replace")))
    listing: dict[str, Any] = json.loads(done.stdout)
    if "fault" in listing:
        kind, reason = listing["fault"]
        raise getattr(faults, kind)(reason)
    return listing


def _died(status: int, stderr: str) -> str:
    if status < 0:
        return f"the HDF5 library dies of it (signal {-status})"
    last = stderr.strip().rpartition("\n")[2]
    return f"the HDF5 library cannot be run on it ({last})"


def variables_of(
    layer: Mapping[str, Any], values: ValueReader, findings: list[Finding]
) -> Iterator[Variable]:
    """A layer's variables that can be read, a finding for each other."""
    for variable in layer["variables"]:
        try:
            yield Variable(variable["name"], _value(variable, values))
        except Unreadable as fault:
            name = f"{layer['name']}/{variable['name']}"
            findings.append(Finding("unreadable-tensor", f"'{name}': {fault}", name))


def _value(variable: Mapping[str, Any], values: ValueReader) -> StoredArray:
    if "skipped" in variable:
        raise Unreadable(variable["skipped"])
    return values.read(variable["place"])


def check(tensors: Sequence[StoredTensor]) -> None:
    """Raises Unsupported where there is no tensor, Abuse where two have one name."""
    if not tensors:
        raise Unsupported("it has no tensor that can be read")
    name, times = Counter(tensor.name for tensor in tensors).most_common(1)[0]
    if times > 1:
        raise Abuse(f"it has {times} tensors that would be called {name!r}")
