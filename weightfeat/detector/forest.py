"""Boosted trees as plain arrays, evaluated with numpy alone.

LightGBM's own parser is never shown a file: a malformed one can take the process down. And detection starts without
importing it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.features.summaries import Array

__all__ = ["Forest"]

Integers = NDArray[np.int64]
MAX_NODES = 4_000_000
ZERO = 1e-35  # LightGBM's kZeroThreshold
CHUNK = 2_000_000  # rows x trees walked at once
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2
STORED = {
    "root": np.int32, "bag": np.int32, "feature": np.int32, "threshold": np.float64, "default_left": np.bool_,
    "missing": np.int8, "children": np.int32, "leaf_value": np.float64, "leaf_count": np.float64,
}  # fmt: skip
"""The arrays of a stored forest."""


@dataclass(frozen=True, eq=False)
class Forest:
    """All trees of `bags` boosted models. Nodes are numbered through; a child c < 0 is the leaf -c - 1.

    `root` is one entry a tree (a leaf for a tree that never split), `bag` the model it belongs to. Of every node:
    which column is asked (`feature`), whether it is at most `threshold` (an infinite one asks whether it is missing),
    what counts as `missing`, where that goes, and both `children`, left first; of every leaf its value and how many
    training rows it had.
    """

    columns: int
    bags: int
    root: Integers
    bag: Integers
    feature: Integers
    threshold: Array
    default_left: NDArray[np.bool_]
    missing: Integers
    children: Integers
    leaf_value: Array
    leaf_count: Array

    def raw(self, x: Array) -> Array:
        """Mean raw score (a logit) over the models, (rows,)."""
        mean: Array = self.raw_by_bag(x).mean(axis=1)
        return mean

    def raw_by_bag(self, x: Array) -> Array:
        """Raw score of every model, (rows, bags): each the sum of its trees' leaves."""
        scores = np.zeros((len(x), max(self.bags, 1)))
        step = max(1, CHUNK // max(len(self.root), 1))
        for start in range(0, len(x), step):
            rows = x[start : start + step]
            node = np.repeat(self.root[None, :], len(rows), axis=0)
            while (inner := np.nonzero(node >= 0))[0].size:
                node[inner] = self._next(rows, inner[0], node[inner])
            leaves = self.leaf_value[-node - 1]
            for bag in range(self.bags):
                scores[start : start + step, bag] = np.ascontiguousarray(leaves[:, self.bag == bag]).sum(
                    axis=1
                )
        return scores

    def contributions(self, row: Array) -> Array:
        """Share of each column in one row's raw score, (columns,).

        Along each path the change of the node's training mean is credited to the column that was asked (Saabas
        2014); the shares sum to the raw score minus the mean of the roots.
        """
        shares = np.zeros(self.columns)
        node = self.root.copy()
        while (inner := np.nonzero(node >= 0)[0]).size:
            at = node[inner]
            node[inner] = self._next(row[None, :], np.zeros(len(inner), dtype=np.int64), at)
            np.add.at(shares, self.feature[at], self._mean(node[inner]) - self._mean(at))
        return shares / max(self.bags, 1)

    def _next(self, rows: Array, row: Integers, node: Integers) -> Integers:
        value, missing = rows[row, self.feature[node]], self.missing[node]
        absent = np.isnan(value)
        value = np.where(absent, 0.0, value)
        unknown = np.where(
            missing == MISSING_NAN, absent, (missing == MISSING_ZERO) & (np.abs(value) <= ZERO)
        )
        left = np.where(unknown, self.default_left[node], value <= self.threshold[node])
        return self.children[node, np.where(left, 0, 1)]

    def _mean(self, node: Integers) -> Array:
        inner = self._node_means[np.maximum(node, 0)] if len(self._node_means) else np.zeros(len(node))
        return np.where(node >= 0, inner, self.leaf_value[np.where(node < 0, -node - 1, 0)])

    @cached_property
    def _node_means(self) -> Array:
        """Mean leaf value of the training rows that reach each inner node; children have higher numbers."""
        means, counts = [0.0] * len(self.children), [0.0] * len(self.children)
        value, count = self.leaf_value.tolist(), self.leaf_count.tolist()
        for at, pair in reversed(list(enumerate(self.children.tolist()))):
            n = [counts[c] if c >= 0 else count[-c - 1] for c in pair]
            v = [means[c] if c >= 0 else value[-c - 1] for c in pair]
            counts[at] = n[0] + n[1]
            means[at] = (n[0] * v[0] + n[1] * v[1]) / counts[at] if counts[at] > 0 else (v[0] + v[1]) / 2
        return np.array(means)

    def tables(self) -> dict[str, NDArray[Any]]:
        """The arrays to store."""
        return {name: getattr(self, name).astype(kind) for name, kind in STORED.items()}

    @classmethod
    def of_tables(cls, tables: Mapping[str, NDArray[Any]], columns: int) -> Forest:
        """From what `tables` gave, each value checked, over `columns` columns.

        Raises ValueError where an index is out of range, or the nodes do not form trees whose children come after
        their parents (so that every walk ends).
        """
        found = {name: tables[name] for name in STORED}
        for name, kind in STORED.items():
            if found[name].dtype != kind or found[name].ndim != (2 if name == "children" else 1):
                raise ValueError(f"{name} is no array of {np.dtype(kind)}")
        nodes, leaves = len(found["feature"]), len(found["leaf_value"])
        sizes = {"threshold": nodes, "default_left": nodes, "missing": nodes, "children": nodes}
        sizes |= {"leaf_count": leaves, "bag": len(found["root"])}
        if nodes > MAX_NODES or any(len(found[name]) != size for name, size in sizes.items()):
            raise ValueError("its arrays do not hold a value for every node, leaf or tree")
        _check_numbers(found)
        _check_range(found["feature"], "feature", 0, columns)
        _check_range(found["missing"], "missing", MISSING_NONE, MISSING_NAN + 1)
        _check_links(found["root"], found["children"], nodes, leaves)
        bags = int(found["bag"].max()) + 1 if len(found["bag"]) else 0
        if not np.array_equal(np.unique(found["bag"]), np.arange(bags)):
            raise ValueError("bag does not number models from 0 on")
        whole = {
            name: found[name].astype(np.int64) for name, kind in STORED.items() if kind in (np.int32, np.int8)
        }
        return cls(columns=columns, bags=bags, **(found | whole))


def _check_numbers(found: Mapping[str, NDArray[Any]]) -> None:
    if np.isnan(found["threshold"]).any():
        raise ValueError("threshold holds what is no number")
    for name in ("leaf_value", "leaf_count"):
        if not np.isfinite(found[name]).all():
            raise ValueError(f"{name} holds what is no finite number")


def _check_range(values: NDArray[Any], name: str, low: int, high: int) -> None:
    if len(values) and not low <= values.min() <= values.max() < high:
        raise ValueError(f"{name} does not hold integers from {low} to {high - 1}")


def _check_links(root: NDArray[Any], children: NDArray[Any], nodes: int, leaves: int) -> None:
    """Where every node and every leaf is the root of a tree or the child of one node that comes before it, the walk
    from every root ends in a leaf."""
    if children.shape != (nodes, 2):
        raise ValueError("children are not two a node")
    _check_range(root, "root", -leaves, nodes)
    _check_range(children.ravel(), "children", -leaves, nodes)
    if np.any((children >= 0) & (children <= np.arange(nodes)[:, None])):
        raise ValueError("a child comes before its parent")
    reached = np.concatenate([root, children.ravel()])
    if len(reached) != nodes + leaves or len(np.unique(reached)) != len(reached):
        raise ValueError("the children do not form trees")
