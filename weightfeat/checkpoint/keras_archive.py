"""Keras 3's .keras archives: the network's description as JSON beside its weights as HDF5.

The weights' file knows layers by their classes and numbers alone ("conv2d_1"); the description says which layers those
are and in what order they compute. Both are read as data: no class is looked up and no Lambda revived. Source:
keras/src/saving/saving_lib.py, `_save_state` and `_save_container_state`.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from weightfeat.checkpoint.faults import Abuse, Malformed, Unreadable, Unsupported
from weightfeat.checkpoint.hdf5_file import check, listing_of, variables_of
from weightfeat.checkpoint.hdf5_values import ValueReader
from weightfeat.checkpoint.keras_config import Description, description
from weightfeat.checkpoint.keras_names import Variable, positional, renamed
from weightfeat.checkpoint.modules import Found
from weightfeat.checkpoint.types import StoredTensor
from weightfeat.checkpoint.zip_archive import Record
from weightfeat.checkpoint.zip_kinds import KERAS_CONFIG, KERAS_WEIGHTS, Records

_ALLOWED = frozenset({"metadata.json", KERAS_CONFIG, KERAS_WEIGHTS})
_LARGEST_CONFIG = 4 << 20
_MOST_LAYERS = 20_000
_DEEPEST = 50
_SHOWN = 80
# The variables Keras's layers keep, in the order they make them; those an option leaves out are named with it.
_VARIABLES = {
    "BatchNormalization": (("gamma", "scale"), ("beta", "center"), ("moving_mean", ""), ("moving_variance", "")),
    "LayerNormalization": (("gamma", "scale"), ("beta", "center")),
    "GroupNormalization": (("gamma", "scale"), ("beta", "center")),
    "SeparableConv1D": (("depthwise_kernel", ""), ("pointwise_kernel", ""), ("bias", "use_bias")),
    "SeparableConv2D": (("depthwise_kernel", ""), ("pointwise_kernel", ""), ("bias", "use_bias")),
    "PReLU": (("alpha", ""),),
    "Embedding": (("embeddings", ""),),
    "Normalization": (("mean", ""), ("variance", ""), ("count", "")),
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A layer as the description has it; `place` is where the weights' file keeps it, its own name apart."""

    place: str
    name: str
    kind: str
    config: Mapping[str, Any]


def read_keras(data: memoryview, records: Sequence[Record]) -> Found:
    """The network of a .keras archive under torch's names and axes, layers in the order in which they compute.

    Raises
    ------
    Malformed : no JSON, no HDF5.
    Unsupported : a compressed archive, weights as .npz, a network that is made by its own code (a subclass of Model).
    Abuse : other records than Keras's, weights of layers that are not described or under another layer's name.
    """
    archive = Records(data, records)
    strange = [n for n in archive.by_name if n not in _ALLOWED and not n.startswith("assets/")]
    if KERAS_WEIGHTS not in archive:
        raise Unsupported("it is a .keras archive of weights as .npz", "save it where h5py is installed")
    if strange:
        raise Abuse(f"it is a .keras archive that holds {strange[0]!r} too")
    try:
        config, weights = bytes(archive.read(KERAS_CONFIG)), archive.read(KERAS_WEIGHTS)
    except Unreadable as fault:
        raise Unsupported(
            f"it is a .keras archive that was packed again ({fault})", "save it with Keras"
        ) from None
    if len(config) > _LARGEST_CONFIG:
        raise Abuse(f"its description has {len(config):,} bytes")
    described = description(config.decode("utf-8", "replace"))
    return _network(_parsed(config), described, weights)


def _parsed(config: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(config)
    except (ValueError, RecursionError):
        raise Malformed("its config.json is no JSON that can be read") from None
    if not isinstance(parsed, dict):
        raise Malformed("its config.json describes no network")
    return parsed


def _network(config: dict[str, Any], described: Description, weights: memoryview) -> Found:
    layers = list(_layers(config))
    if not layers:
        kind = str(config.get("registered_name") or config.get("class_name"))
        raise Unsupported(
            f"its network {kind[:_SHOWN]!r} is made by its own code",
            "save it as a Functional or Sequential model",
        )
    places = {layer.place: layer for layer in layers}
    if len(places) < len(layers):
        raise Abuse("its description has two layers for one place of the weights")
    stored: dict[str, list[dict[str, Any]]] = {place: [] for place in places}
    values = ValueReader(weights)
    findings, tensors = list(described.findings), list[StoredTensor]()
    for entry in _listing(weights):
        owner = _owner(entry["name"], places)
        if owner is not None:
            stored[owner].append(entry)
        elif entry["variables"]:
            raise Abuse(f"its weights hold a layer {entry['name']!r} that its config.json does not describe")
    for layer in layers:
        for entry in stored[layer.place]:
            below = entry["name"].removeprefix(layer.place).lstrip(".")
            if not below:
                _check_title(entry, layer)
            tensors += _tensors(layer, below, list(variables_of(entry, values, findings)))
    check(tensors)
    types = {layer.name: f"keras.layers.{layer.kind}" for layer in layers}
    return Found(tuple(tensors), MappingProxyType(types), tuple(findings))


def _owner(name: str, places: Mapping[str, Layer]) -> str | None:
    """The place of the innermost layer that a group of the weights' file lies in."""
    parts = name.split(".")
    above = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((place for place in above if place in places), None)


def _listing(weights: memoryview) -> list[dict[str, Any]]:
    """What the HDF5 library, in a process of its own, lists of the weights, which are copied out for it."""
    with tempfile.NamedTemporaryFile(prefix="weightfeat-", suffix=".h5") as file:
        try:
            file.write(weights)
            file.flush()
        except OSError as error:
            raise Unsupported(
                f"it cannot be unpacked into {tempfile.gettempdir()} ({error.strerror})"
            ) from None
        listing = listing_of(Path(file.name))
    if listing["ordered"]:
        raise Abuse("its weights are a file of Keras 2, which Keras would not load from here")
    found: list[dict[str, Any]] = listing["layers"]
    return found


def _check_title(entry: Mapping[str, Any], layer: Layer) -> None:
    title = entry.get("title")
    if title is not None and title != layer.name.rpartition(".")[2]:
        raise Abuse(f"its weights call a layer {title!r} that its config.json calls {layer.name!r}")


def _layers(config: Mapping[str, Any]) -> Iterator[Layer]:
    """Layers in order, networks within the network laid out in their places. Keras counts them class by class."""
    # An inner network's layers stand where it does, so the outermost is last to be read to its end.
    stack = [(iter(_inner(config)), "", "", dict[str, int]())]
    seen = 0
    while stack:
        entries, place, name, used = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        seen += 1
        if seen > _MOST_LAYERS or len(stack) > _DEEPEST:
            raise Abuse("its description has too many layers or is nested too deep")
        layer = _layer(entry, place, name, used)
        inner = _inner(entry)
        if inner:
            stack.append((iter(inner), f"{layer.place}.", f"{layer.name}.", {}))
        else:
            yield layer


def _inner(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    config = entry.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    return [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []


def _layer(entry: Mapping[str, Any], place: str, name: str, used: dict[str, int]) -> Layer:
    kind, config = entry.get("class_name"), entry.get("config")
    config = config if isinstance(config, dict) else {}
    own = config.get("name") or entry.get("name")
    if not isinstance(kind, str) or not isinstance(own, str):
        raise Malformed("its config.json has a layer without a class or a name")
    stem = _snake_case(kind)
    number = used.get(stem, -1) + 1
    used[stem] = number
    return Layer(f"{place}{stem}_{number}" if number else f"{place}{stem}", f"{name}{own}", kind, config)


def _snake_case(name: str) -> str:
    """A class's name as Keras spells it in paths.

    >>> [_snake_case(name) for name in ("Conv2D", "ReLU", "BatchNormalization")]
    ['conv2d', 're_lu', 'batch_normalization']
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _tensors(layer: Layer, below: str, variables: list[Variable]) -> list[StoredTensor]:
    if below:  # a wrapper's layer, a cell, a generator of random numbers
        return renamed(f"{layer.name}.{below}", positional(variables), kind=below)
    expected = _expected(layer)
    if expected is not None and len(expected) == len(variables):
        variables = [replace(v, name=name) for v, name in zip(variables, expected, strict=True)]
    else:
        variables = positional(variables)
    return renamed(layer.name, variables, kind=layer.kind)


def _expected(layer: Layer) -> list[str] | None:
    """Names of the variables of a layer whose class is known to keep others than a kernel and a bias."""
    known = _VARIABLES.get(layer.kind)
    if known is None:
        return None
    return [name for name, option in known if not option or layer.config.get(option) is not False]
