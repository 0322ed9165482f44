"""Bagged boosted trees and a logistic regression, or the class evidence in its place, stacked on logits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightfeat.detector.forest import Forest, parse_forest
from weightfeat.detector.linear import Linear, fit_linear, read_out
from weightfeat.metaparameters import Metaparameters

__all__ = ["Classifier", "fit_classifier", "fit_forest"]

Array = NDArray[np.float64]
# With some dozens of rows a bin may hold one of them, and more than 31 bins cost time without changing a split.
MAX_BIN, MIN_DATA_IN_BIN = 31, 1
MIN_GAIN = 1e-9  # a gain at the level of rounding is none


@dataclass(frozen=True, eq=False)
class Classifier:
    """The stacked logit (1 - weight) * trees + weight * logistic; `linear` is None where the weight is 0.

    `heard`, a number or one a row, is what part of their own weight the trees keep where a logistic stands beside
    them; the rest is the logistic's.
    """

    forest: Forest
    linear: Linear | None
    weight: float

    def logit(self, x: Array, heard: Array | float = 1.0) -> Array:
        """(rows,)"""
        return self._stacked(self.forest.raw(x), lambda linear: linear.raw(x), heard)

    def logit_by_bag(self, x: Array) -> Array:
        """The stacked logit with each bag alone in the place of their mean, all of them heard, (rows, bags)."""
        return self._stacked(self.forest.raw_by_bag(x), lambda linear: linear.raw(x)[:, None])

    def contributions(self, row: Array, heard: float = 1.0) -> Array:
        """Each column's part of one row's stacked logit, (columns,)."""
        trees = self.forest.contributions(row)
        return self._stacked(trees, lambda linear: linear.contributions(row[None])[0], heard)

    def _stacked(
        self, trees: Array, logistic: Callable[[Linear], Array], heard: Array | float = 1.0
    ) -> Array:
        if self.linear is None:
            return trees
        share = (1 - self.weight) * heard
        return np.asarray(share * trees + (1 - share) * logistic(self.linear))


def fit_classifier(
    x: Array,
    y: NDArray[np.int64],
    params: Metaparameters,
    threads: int = 1,
    logistic: NDArray[np.bool_] | None = None,
    log_odds: int | None = None,
    trees: NDArray[np.bool_] | None = None,
) -> Classifier:
    """Fit on (rows, columns) with NaN for missing values; a side with no weight is not trained.

    `logistic` and `trees` (columns,) mark what the logistic regression and the trees may use; None: everything.
    `log_odds` is the number of a column that takes the regression's place as it is, unless it is missing everywhere.
    """
    weight, linear = params.train_logistic_weight, None
    if weight > 0 and log_odds is not None and np.isfinite(x[:, log_odds]).any():
        linear = read_out(x.shape[1], log_odds)
    elif weight > 0:
        linear = fit_linear(x, y, params.train_logistic_c, logistic)
    forest = fit_forest(_only(x, trees), y, params, threads) if weight < 1 else parse_forest("", x.shape[1])
    return Classifier(forest, linear, weight)


def _only(x: Array, used: NDArray[np.bool_] | None) -> Array:
    """All other columns made missing, which no tree splits on; as it is where none of those marked has a value."""
    if used is None or not np.isfinite(x[:, used]).any():
        return x
    return np.where(used, x, np.nan)


def fit_forest(x: Array, y: NDArray[np.int64], params: Metaparameters, threads: int = 1) -> Forest:
    """`train_ensemble_size` LightGBM models that differ in their seed.

    Each is grown in one thread and they are shared out over `threads`: sums over rows then never depend on the
    number of threads, and neither do the trees.
    """
    import lightgbm

    seeds = np.random.SeedSequence(params.train_seed).generate_state(params.train_ensemble_size) % (2**31 - 1)
    settings = _settings(params, len(y))
    # One for all: the bins do not depend on the seed.
    binned = lightgbm.Dataset(x, label=y, params=settings, free_raw_data=False).construct()

    def grow(seed: int) -> str:
        grown = lightgbm.train(settings | {"seed": seed}, binned, params.train_num_trees)
        # What follows repeats the settings, which stand in detector.json.
        return grown.model_to_string().partition("\nend of trees")[0] + "\nend of trees\n\n"

    with ThreadPoolExecutor(max(1, threads)) as pool:
        texts = list(pool.map(grow, seeds.tolist()))
    return parse_forest("".join(texts), x.shape[1])


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
        "lambda_l1": params.train_lambda_l1,
        "lambda_l2": params.train_lambda_l2,
        "min_gain_to_split": MIN_GAIN,
        "max_bin": MAX_BIN,
        "min_data_in_bin": MIN_DATA_IN_BIN,
        "deterministic": True,
        "force_col_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
