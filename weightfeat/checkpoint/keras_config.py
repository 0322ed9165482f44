"""What a Keras file's JSON says of the network: parsed as data, with whatever in it would be run reported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from weightfeat.checkpoint.faults import Abuse
from weightfeat.checkpoint.types import Finding, capped

_SHOWN = 80
# NASNetLarge, the longest of Keras's own, has some twenty thousand.
_MOST_PARTS = 200_000
_DEEPEST = 50
# Packages whose classes and functions a Keras network is made of.
_OWN_PACKAGES = frozenset({"builtins", "keras", "keras_core", "tensorflow", "tf_keras"})
# What of them a layer's description may name: the others read and write files, or lift Keras's own guards.
_OWN_PARTS = frozenset(
    {"activations", "constraints", "dtype_policies", "engine", "initializers", "layers", "losses", "metrics"}
    | {
        "mixed_precision",
        "models",
        "ops",
        "optimizers",
        "random",
        "regularizers",
        "src",
        "python",
        "keras",
        "api",
    }
    | {"backend", "applications", "legacy", "trainers"}
)
_FOREIGN_PARTS = frozenset({"utils", "config", "saving", "datasets", "callbacks", "export", "io"})
# Keras revives these from Python code, or a pickle, in the file itself.
_CODE = frozenset({"Lambda", "__lambda__", "TorchModuleWrapper"})
_OPERATIONS = frozenset({"TFOpLambda", "TensorFlowOpLayer", "SlicingOpLambda"})
_OPERATION_SPACES = frozenset({"__operators__", "math", "nn", "linalg", "image", "keras", "compat"})
_PLAIN_OPERATIONS = frozenset(
    {
        "broadcast_to",
        "cast",
        "clip_by_value",
        "concat",
        "convert_to_tensor",
        "expand_dims",
        "gather",
        "identity",
    }
    | {"ones_like", "pad", "repeat", "reshape", "reverse", "shape", "slice", "split", "squeeze", "stack"}
    | {
        "stop_gradient",
        "strided_slice",
        "tile",
        "transpose",
        "unstack",
        "where",
        "zeros_like",
        "zeros",
        "ones",
    }
)
# Keras opens the file that these name, where they are no list.
_PATHS = ("vocabulary", "filepath", "filename", "url")


@dataclass(frozen=True)
class Description:
    """Classes of the layers by name, in the network's order, whether kernels are in Theano's order (Keras 1), and what
    would be run."""

    classes: dict[str, str]
    theano_order: bool = False
    findings: tuple[Finding, ...] = ()


def description(network: str | None, training: str | None = None) -> Description:
    """What the JSON attributes of a file say; text that is no JSON is noted.

    Raises Abuse for one of more parts than any network has.
    """
    details: dict[str, None] = {}
    notes: list[Finding] = []
    theano = False
    classes: dict[str, str] = {}
    for text in (network, training):
        if text is None:
            continue
        if text.count("{") + text.count("[") > _MOST_PARTS:
            raise Abuse(f"its description of the network has more than {_MOST_PARTS:,} parts")
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            notes.append(Finding("note", "its description of the network is no JSON that can be read"))
            continue
        for node in _dicts(parsed):
            details |= dict.fromkeys(_foreign(node))
            theano = theano or node.get("dim_ordering") == "th"
        if text is network:
            for name, kind in _layers(parsed):
                classes.setdefault(name, kind)
    return Description(classes, theano, (*capped("foreign-callable", list(details)), *notes))


def refuse_other_layers(described: Description, layers: Sequence[str]) -> None:
    """Raises Abuse where layers with variables are not those of the description, or in another order: Keras goes by
    position, and would give their values to others.

    Parameters
    ----------
    layers : names of the layers that have variables, in the file's order.
    """
    if not described.classes:
        return
    order = {name: place for place, name in enumerate(described.classes)}
    strange = next((name for name in layers if name not in order), None)
    if strange is not None:
        raise Abuse(
            f"its description of the network has no layer {strange[:_SHOWN]!r}, of which it has variables"
        )
    places = [order[name] for name in layers]
    if places != sorted(places):
        raise Abuse("its layers are in another order than in its description of the network")


def _dicts(root: object) -> Iterator[dict[str, Any]]:
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(reversed(node.values()))
        elif isinstance(node, list):
            stack.extend(reversed(node))


def _layers(model: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Name and class of each layer, where Keras looks for them: in the configuration's list, and in nested networks."""
    config = model.get("config") if isinstance(model, dict) else None
    listed = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(listed, list) or depth > _DEEPEST:
        return
    for layer in listed:
        if not isinstance(layer, dict):
            continue
        kind, inner = layer.get("class_name"), layer.get("config")
        name = layer.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
        if isinstance(kind, str) and isinstance(name, str):
            yield name, kind
        yield from _layers(layer, depth + 1)


def _foreign(node: dict[str, Any]) -> Iterator[str]:
    """Code, and names of things outside Keras's layers, that Keras would import and call to revive the network."""
    kind, module = node.get("class_name"), node.get("module")
    config = node.get("config")
    inner = config if isinstance(config, dict) else {}
    name = inner.get("name") if inner else config
    shown = f"{kind} {name!s:.{_SHOWN}}"
    if kind in _CODE:
        yield f"{shown}: Python code in the file"
    elif isinstance(kind, str) and isinstance(module, str) and not _is_own(module):
        named = kind if kind != "function" else name
        yield f"{module:.{_SHOWN}}.{named!s:.{_SHOWN}}: imported from outside Keras's layers"
    elif kind == "function" and isinstance(config, str) and module in (None, "builtins"):
        yield f"function {name!s:.{_SHOWN}}: looked up by name outside Keras"
    if kind in _OPERATIONS and not _is_plain_operation(inner.get("function")):
        yield f"{shown}: calls {inner.get('function')!s:.{_SHOWN}} of TensorFlow"
    for key in _PATHS:
        if isinstance(inner.get(key), str):
            yield f"{shown}: opens {inner[key]:.{_SHOWN}}"


def _is_own(module: str) -> bool:
    package, *parts = module.split(".")
    return (
        package in _OWN_PACKAGES
        and not _FOREIGN_PARTS & set(parts)
        and (package == "builtins" or not parts or parts[0] in _OWN_PARTS)
    )


def _is_plain_operation(function: object) -> bool:
    if function is None:
        return True  # a slice, whose arguments are all it has
    space, dot, _ = str(function).partition(".")
    return space in (_OPERATION_SPACES if dot else _PLAIN_OPERATIONS)
