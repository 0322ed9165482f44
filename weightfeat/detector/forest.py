"""LightGBM's text format read into plain arrays and evaluated with numpy alone.

The library's own parser is never shown a file: a malformed one can take the process down. And detection starts
without importing it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Forest", "parse_forest"]

Array = NDArray[np.float64]
MAX_NODES = 4_000_000
ZERO = 1e-35  # LightGBM's kZeroThreshold
CHUNK = 2_000_000  # rows x trees walked at once
CATEGORICAL, DEFAULT_LEFT = 1, 2  # bits of decision_type; the two above them give the kind of missing value
MISSING_ZERO, MISSING_NAN = 1, 2


@dataclass(frozen=True, eq=False)
class Forest:
    """All trees of `bags` boosted models. Nodes are numbered through; a child c < 0 is the leaf -c - 1.

    `root` is one entry a tree (a leaf for a tree that never split), `bag` the model it belongs to.
    """

    columns: int
    bags: int
    root: NDArray[np.int64]
    bag: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: Array
    default_left: NDArray[np.bool_]
    missing: NDArray[np.int64]
    children: NDArray[np.int64]
    leaf_value: Array
    leaf_count: Array
    text: str = field(repr=False)

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

    def _next(self, rows: Array, row: NDArray[np.int64], node: NDArray[np.int64]) -> NDArray[np.int64]:
        value, missing = rows[row, self.feature[node]], self.missing[node]
        absent = np.isnan(value)
        value = np.where(absent, 0.0, value)
        unknown = np.where(
            missing == MISSING_NAN, absent, (missing == MISSING_ZERO) & (np.abs(value) <= ZERO)
        )
        left = np.where(unknown, self.default_left[node], value <= self.threshold[node])
        return self.children[node, np.where(left, 0, 1)]

    def _mean(self, node: NDArray[np.int64]) -> Array:
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


def parse_forest(text: str, columns: int) -> Forest:
    """Read models of LightGBM's text format, one after the other, each over `columns` columns.

    Raises ValueError for anything but gradient-boosted binary models with numerical splits whose every index is in
    range and whose children come after their parents (so that every walk ends).
    """
    parts: dict[str, list[object]] = {
        key: [] for key in ("root", "bag", "feature", "threshold", "kind", "children")
    }
    leaf_value: list[float] = []
    leaf_count: list[float] = []
    nodes = bags = 0
    for bags, model in enumerate(_models(text, columns), start=1):
        for tree in model:
            size = _count(tree, "num_leaves")
            if size < 1 or tree.get("num_cat") != "0" or tree.get("is_linear", "0") != "0":
                raise ValueError("a tree is empty, linear or categorical")
            leaves = _numbers(tree, "leaf_value", size)
            first_leaf, inner = len(leaf_value), size - 1
            if nodes + inner > MAX_NODES:
                raise ValueError(f"more than {MAX_NODES} nodes")
            parts["root"].append(nodes if inner else -first_leaf - 1)
            parts["bag"].append(bags - 1)
            leaf_value += leaves
            leaf_count += _numbers(tree, "leaf_count", size) if inner else [1.0]
            if inner:
                parts["feature"] += _integers(tree, "split_feature", inner, 0, columns)
                # An infinite threshold asks whether the value is missing.
                parts["threshold"] += _numbers(tree, "threshold", inner, infinite=True)
                parts["kind"] += _integers(tree, "decision_type", inner, 0, 12)
                parts["children"] += _children(tree, inner, nodes, first_leaf)
            nodes += inner
    kind = np.array(parts["kind"], dtype=np.int64)
    if np.any(kind & CATEGORICAL):
        raise ValueError("a split is categorical")
    return Forest(
        columns=columns,
        bags=bags,
        root=np.array(parts["root"], dtype=np.int64),
        bag=np.array(parts["bag"], dtype=np.int64),
        feature=np.array(parts["feature"], dtype=np.int64),
        threshold=np.array(parts["threshold"], dtype=np.float64),
        default_left=(kind & DEFAULT_LEFT) > 0,
        missing=kind >> 2,
        children=np.array(parts["children"], dtype=np.int64).reshape(-1, 2),
        leaf_value=np.array(leaf_value, dtype=np.float64),
        leaf_count=np.array(leaf_count, dtype=np.float64),
        text=text,
    )


def _models(text: str, columns: int) -> Iterator[list[dict[str, str]]]:
    """The trees of each model, as the lines of their sections."""
    before, *models = re.split(r"^tree\n", text, flags=re.MULTILINE)
    if before.strip():
        raise ValueError("text before the first model")
    for model in models:
        head, *sections = model.partition("\nend of trees")[0].split("\nTree=")
        header = _pairs(head)
        wanted = {"num_class": "1", "num_tree_per_iteration": "1", "max_feature_idx": str(columns - 1)}
        if {key: header.get(key) for key in wanted} != wanted or header.get(
            "objective"
        ) != "binary sigmoid:1":
            raise ValueError(f"a model is not a binary one over {columns} columns")
        if "average_output" in head.split("\n") or len(header.get("tree_sizes", "").split()) != len(sections):
            raise ValueError("a model is averaged or not complete")
        yield [_pairs(section) for section in sections]


def _pairs(section: str) -> dict[str, str]:
    return {key: value for key, mark, value in (line.partition("=") for line in section.split("\n")) if mark}


def _count(tree: dict[str, str], key: str) -> int:
    value = tree.get(key, "")
    if not re.fullmatch(r"\d{1,7}", value):
        raise ValueError(f"{key} is not a count")
    return int(value)


def _numbers(tree: dict[str, str], key: str, size: int, infinite: bool = False) -> list[float]:
    values = [float(word) for word in tree.get(key, "").split()]
    refused = math.isnan if infinite else lambda value: not math.isfinite(value)
    if len(values) != size or any(map(refused, values)):
        raise ValueError(f"{key} does not hold {size} numbers in range")
    return values


def _integers(tree: dict[str, str], key: str, size: int, low: int, high: int) -> list[int]:
    values = [int(word) for word in tree.get(key, "").split()]
    if len(values) != size or not all(low <= value < high for value in values):
        raise ValueError(f"{key} does not hold {size} integers from {low} to {high - 1}")
    return values


def _children(tree: dict[str, str], inner: int, first_node: int, first_leaf: int) -> list[list[int]]:
    """Pairs numbered through the forest; every node and leaf of the tree must be somebody's child exactly once."""
    left, right = (_integers(tree, key, inner, -inner - 1, inner) for key in ("left_child", "right_child"))
    if sorted(left + right) != [*range(-inner - 1, 0), *range(1, inner)]:
        raise ValueError("the children do not form one tree")
    if any(0 <= child <= parent for pair in (left, right) for parent, child in enumerate(pair)):
        raise ValueError("a child comes before its parent")
    return [
        [c + first_node if c >= 0 else c - first_leaf for c in pair] for pair in zip(left, right, strict=True)
    ]
