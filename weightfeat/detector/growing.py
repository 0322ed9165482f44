"""Bagged boosted trees grown by LightGBM and taken over as plain arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.forest import MISSING_NAN, MISSING_NONE, MISSING_ZERO, STORED, Forest
from weightfeat.features.summaries import Array
from weightfeat.metaparameters import Metaparameters

__all__ = ["fit_forest", "taken_over"]

# With some dozens of rows a bin may hold one of them, and more than 31 bins cost time without changing a split.
MAX_BIN, MIN_DATA_IN_BIN = 31, 1
L1 = 0.001  # penalty on leaf values: within what a year of searches could tell apart, it made no difference
MIN_GAIN = 1e-9  # a gain at the level of rounding is none
MISSING = {"None": MISSING_NONE, "Zero": MISSING_ZERO, "NaN": MISSING_NAN}
INFINITE = 1e300  # LightGBM's word for it in JSON


def fit_forest(x: Array, y: NDArray[np.int64], params: Metaparameters, threads: int = 1) -> Forest:
    """`train_ensemble_size` LightGBM models that differ in their seed, on (rows, columns) with NaN for missing values.

    Each is grown in one thread and they are shared out over `threads`: sums over rows then never depend on the
    number of threads, and neither do the trees.
    """
    import lightgbm

    seeds = np.random.SeedSequence(params.train_seed).generate_state(params.train_ensemble_size) % (2**31 - 1)
    settings = _settings(params, len(y))
    # One for all: the bins do not depend on the seed.
    binned = lightgbm.Dataset(x, label=y, params=settings, free_raw_data=False).construct()

    def grow(seed: int) -> dict[str, Any]:
        return dict(lightgbm.train(settings | {"seed": seed}, binned, params.train_num_trees).dump_model())

    with ThreadPoolExecutor(max(1, threads)) as pool:
        return taken_over(list(pool.map(grow, seeds.tolist())), x.shape[1])


def taken_over(models: Sequence[Mapping[str, Any]], columns: int) -> Forest:
    """What `Booster.dump_model()` says of models over `columns` columns, as one forest.

    Raises ValueError for anything but binary models with numerical splits.
    """
    parts: dict[str, list[Any]] = {name: [] for name in STORED}
    for bag, model in enumerate(models):
        if model["objective"] != "binary sigmoid:1" or model["average_output"]:
            raise ValueError("a model is not a boosted binary one")
        for tree in model["tree_info"]:
            parts["bag"].append(bag)
            _add_tree(parts, tree["tree_structure"])
    tables: dict[str, NDArray[Any]] = {
        name: np.array(values, dtype=STORED[name]) for name, values in parts.items()
    }
    tables["children"] = tables["children"].reshape(-1, 2)
    return Forest.of_tables(tables, columns)


def _add_tree(parts: dict[str, list[Any]], root: Mapping[str, Any]) -> None:
    """Nodes in LightGBM's own order, in which children follow their parents; numbered on from those before."""
    first, leaf = len(parts["feature"]), len(parts["leaf_value"])
    nodes, leaves = _sorted(root, "split_index"), _sorted(root, "leaf_index")

    def number(entry: Mapping[str, Any]) -> int:
        if "split_index" in entry:
            return first + int(entry["split_index"])
        return -leaf - int(entry.get("leaf_index", 0)) - 1

    parts["root"].append(number(root))
    for node in nodes:
        if node["decision_type"] != "<=":
            raise ValueError("a split is not numerical")
        parts["feature"].append(node["split_feature"])
        parts["threshold"].append(np.inf if node["threshold"] >= INFINITE else node["threshold"])
        parts["default_left"].append(node["default_left"])
        parts["missing"].append(MISSING[node["missing_type"]])
        parts["children"] += [number(node["left_child"]), number(node["right_child"])]
    for entry in leaves:
        parts["leaf_value"].append(entry["leaf_value"])
        parts["leaf_count"].append(entry.get("leaf_count", 0))


def _sorted(root: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """All entries below and with `root` that are splits, or leaves, in their order; a lone leaf has no number."""
    found = [entry for entry in _walk(root) if ("split_index" in entry) == (key == "split_index")]
    return sorted(found, key=lambda entry: int(entry.get(key, 0)))


def _walk(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield entry
    for side in ("left_child", "right_child"):
        if side in entry:
            yield from _walk(entry[side])


def _settings(params: Metaparameters, rows: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "num_leaves": params.train_num_leaves,
        "learning_rate": params.train_learning_rate,
        "min_data_in_leaf": params.train_min_child_samples,
        "feature_fraction": params.train_feature_fraction,
        # At least two rows: LightGBM stops at an empty bag, which few rows and a small fraction give.
        "bagging_fraction": min(1.0, max(params.train_bagging_fraction, 2 / rows)),
        "bagging_freq": 1,
        "lambda_l1": L1,
        "lambda_l2": params.train_lambda_l2,
        "min_gain_to_split": MIN_GAIN,
        "max_bin": MAX_BIN,
        "min_data_in_bin": MIN_DATA_IN_BIN,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
