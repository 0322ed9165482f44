"""Names for an ONNX graph's weights: torch's own where its exporter kept them, else the operation's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from weightfeat.checkpoint.onnx_graph import Node

_PLAIN = re.compile(r"[^\w.\-]+")


@dataclass
class Namer:
    """Gives every module of the network a name of its own."""

    taken: set[str] = field(default_factory=set)
    _number: int = 0

    def module(self, node: Node, values: Mapping[str, str]) -> str:
        """A name for the module that an operation is.

        Parameters
        ----------
        node : the operation.
        values : names of the graph's values that it takes, by torch's name for their role ("weight", "bias").
        """
        self._number += 1
        fallback = f"{node.operator.lower()}_{self._number}"
        chosen = next(
            name for name in (*_kept(values), *_path(node), fallback) if self._is_free(name, values)
        )
        self.taken |= {f"{chosen}.{leaf}" for leaf in values}
        return chosen

    def single(self, name: str) -> str:
        """A name for a value that belongs to no module."""
        self._number += 1
        plain = _PLAIN.sub("_", name.strip("/")).strip(".") or "value"
        chosen = plain if plain not in self.taken else f"{plain}_{self._number}"
        self.taken.add(chosen)
        return chosen

    def _is_free(self, name: str, values: Mapping[str, str]) -> bool:
        return not self.taken & {f"{name}.{leaf}" for leaf in values}


def _kept(values: Mapping[str, str]) -> Iterator[str]:
    """The module's path in the name of a value that is called what it is, as "layer1.0.conv1.weight"."""
    for leaf, name in values.items():
        stem, _, last = name.rpartition(".")
        if last == leaf and stem and not _PLAIN.search(stem):
            yield stem


def _path(node: Node) -> Iterator[str]:
    """The module's path in the operation's name: "/layer1/layer1.0/conv1/Conv" and "block/dense/MatMul" alike.

    torch's exporter repeats the path so far where a child is a number.
    """
    parts = [part for part in node.name.split("/")[:-1] if part]
    path: list[str] = []
    for part in parts:
        if path and part.startswith(f"{path[-1]}."):
            path.pop()
        path.append(_PLAIN.sub("_", part))
    if path:
        yield ".".join(path)
