"""What a Keras file's JSON says of the network: parsed as data, with whatever in it would be run reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from weightfeat.checkpoint.types import Finding

_MOST_FINDINGS = 50
_SHOWN = 80
# Packages whose classes and functions a Keras network is made of.
_OWN_PACKAGES = frozenset({"builtins", "keras", "keras_core", "tensorflow", "tf_keras"})
# Keras revives these from Python code in the file itself.
_CODE = frozenset({"Lambda", "__lambda__"})


@dataclass(frozen=True)
class Description:
    """Classes of the layers by name, whether kernels are in Theano's order (Keras 1), and what would be run."""

    classes: dict[str, str]
    theano_order: bool = False
    findings: tuple[Finding, ...] = ()


def description(*texts: str | None) -> Description:
    """What the JSON attributes of a file say; text that is no JSON is noted."""
    classes: dict[str, str] = {}
    details: list[str] = []
    notes: list[Finding] = []
    theano = False
    for text in texts:
        if text is None:
            continue
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            notes.append(Finding("note", "its description of the network is no JSON that can be read"))
            continue
        for node in _dicts(parsed):
            details += _foreign(node)
            theano = theano or node.get("dim_ordering") == "th"
            classes |= _class(node)
    details = list(dict.fromkeys(details))
    if len(details) > _MOST_FINDINGS:
        details[_MOST_FINDINGS:] = [f"and {len(details) - _MOST_FINDINGS} more foreign callables"]
    findings = (*(Finding("foreign-callable", detail) for detail in details), *notes)
    return Description(classes, theano, findings)


def _dicts(root: object) -> Iterator[dict[str, Any]]:
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(reversed(node.values()))
        elif isinstance(node, list):
            stack.extend(reversed(node))


def _class(node: dict[str, Any]) -> dict[str, str]:
    """The layer's name and class that one entry gives, in either place where Keras puts the name."""
    kind, config = node.get("class_name"), node.get("config")
    name = node.get("name") or (config.get("name") if isinstance(config, dict) else None)
    return {name: kind} if isinstance(kind, str) and isinstance(name, str) else {}


def _foreign(node: dict[str, Any]) -> Iterator[str]:
    """Code, and names of things outside Keras, that Keras would import and call to revive the network."""
    kind, module = node.get("class_name"), node.get("module")
    config = node.get("config")
    name = config.get("name") if isinstance(config, dict) else config
    shown = f"{kind} {name!s:.{_SHOWN}}"
    if kind in _CODE:
        yield f"{shown}: Python code in the file"
    elif isinstance(module, str) and module.partition(".")[0] not in _OWN_PACKAGES:
        yield f"{module:.{_SHOWN}}.{kind if kind != 'function' else name!s:.{_SHOWN}}: imported from outside Keras"
    elif kind == "function" and isinstance(config, str) and module in (None, "builtins"):
        yield f"function {name!s:.{_SHOWN}}: looked up by name outside Keras"
