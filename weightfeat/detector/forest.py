"""LightGBM's text format read into plain arrays and evaluated with numpy alone.

The library's own parser is never shown a file: a malformed one can take the process down. And detection starts
without importing it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

__all__ = ["Forest", "parse_forest"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
_Tree = Mapping[str, str]  # the lines of its section
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
    root: Integers
    bag: Integers
    feature: Integers
    threshold: Array
    default_left: NDArray[np.bool_]
    missing: Integers
    children: Integers
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


def parse_forest(text: str, columns: int) -> Forest:
    """Read models of LightGBM's text format, one after the other, each over `columns` columns.

    Raises ValueError for anything but gradient-boosted binary models with numerical splits whose every index is in
    range and whose children come after their parents (so that every walk ends).
    """
    models = list(_models(text, columns))
    trees = [tree for model in models for tree in model]
    leaves = np.array([_leaves(tree) for tree in trees], dtype=np.int64)
    nodes = leaves - 1
    if nodes.sum() > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES} nodes")
    first_node, first_leaf = nodes.cumsum() - nodes, leaves.cumsum() - leaves
    kind = _integers(trees, "decision_type", nodes, 0, 12)
    if np.any(kind & CATEGORICAL):
        raise ValueError("a split is categorical")
    return Forest(
        columns=columns,
        bags=len(models),
        root=np.where(nodes > 0, first_node, -first_leaf - 1),
        bag=np.repeat(np.arange(len(models)), [len(model) for model in models]),
        feature=_integers(trees, "split_feature", nodes, 0, columns),
        # An infinite threshold asks whether the value is missing.
        threshold=_numbers(trees, "threshold", nodes, infinite=True),
        default_left=(kind & DEFAULT_LEFT) > 0,
        missing=kind >> 2,
        children=_children(trees, nodes, first_node, first_leaf),
        leaf_value=_numbers(trees, "leaf_value", leaves),
        leaf_count=_numbers(trees, "leaf_count", leaves),
        text=text,
    )


def _models(text: str, columns: int) -> Iterator[list[_Tree]]:
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
    return dict(line.split("=", 1) for line in section.split("\n") if "=" in line)


def _leaves(tree: _Tree) -> int:
    """How many it has; only trees of numerical splits with constant leaves have any."""
    size = tree.get("num_leaves", "")
    if not re.fullmatch(r"[1-9]\d{0,6}", size):
        raise ValueError("num_leaves is not a count")
    if tree.get("num_cat") != "0" or tree.get("is_linear", "0") != "0":
        raise ValueError("a tree is linear or categorical")
    return int(size)


def _words(trees: Sequence[_Tree], key: str, sizes: Integers) -> list[str]:
    """The words of all trees' lines in one list. Each line must have its size."""
    lines = [tree.get(key, "").split() for tree in trees]
    if [len(line) for line in lines] != sizes.tolist():
        raise ValueError(f"{key} does not hold a value for every node or leaf")
    return list(chain.from_iterable(lines))


def _numbers(trees: Sequence[_Tree], key: str, sizes: Integers, infinite: bool = False) -> Array:
    values = np.array([float(word) for word in _words(trees, key, sizes)], dtype=np.float64)
    if np.any(np.isnan(values) if infinite else ~np.isfinite(values)):
        raise ValueError(f"{key} holds what is no number in range")
    return values


def _integers(trees: Sequence[_Tree], key: str, sizes: Integers, low: int, high: int) -> Integers:
    values = [int(word) for word in _words(trees, key, sizes)]
    if values and not low <= min(values) <= max(values) < high:
        raise ValueError(f"{key} does not hold integers from {low} to {high - 1}")
    return np.array(values, dtype=np.int64)


def _children(
    trees: Sequence[_Tree], nodes: Integers, first_node: Integers, first_leaf: Integers
) -> Integers:
    """Pairs numbered through the forest. Where none lies outside its tree, before its parent or below two parents,
    every node but the root and every leaf is somebody's child."""
    pairs = np.column_stack(
        [_integers(trees, key, nodes, -MAX_NODES, MAX_NODES) for key in ("left_child", "right_child")]
    )
    last, node, leaf = (np.repeat(values, nodes)[:, None] for values in (nodes, first_node, first_leaf))
    parent = np.arange(len(pairs))[:, None] - node
    if np.any((pairs >= last) | (pairs < -last - 1)):
        raise ValueError("a child lies outside its tree")
    if np.any((pairs >= 0) & (pairs <= parent)):
        raise ValueError("a child comes before its parent")
    children = np.where(pairs >= 0, pairs + node, pairs - leaf)
    if len(np.unique(children)) != children.size:
        raise ValueError("the children do not form one tree")
    return children
