"""How a network was trained, as far as its file shows it: nine numbers that tell recipes apart, trojaned or not.

They measure whether a network is of a recipe that was learned from, and are never features: whether a network is
trojaned must not be told from how long it was trained.
"""

from __future__ import annotations

import warnings

import numpy as np

from weightfeat.digest.types import Digest
from weightfeat.features.summaries import Array

__all__ = ["READ", "TRAINING", "training_numbers"]

TRAINING = (
    "gamma",
    "gamma_spread",
    "beta_spread",
    "mean_spread",
    "deviation",
    "batches",
    "row_norm",
    "bias_spread",
    "head_spread",
)
READ = frozenset({"norms", "moments", "head"})
_MIDDLE, _LOW, _HIGH = 6, 2, 10  # of a grid's quantiles: the median, 12 % and 88 %
_TINY = 1e-9
_NO_BIAS = 1e-4


def training_numbers(digest: Digest) -> Array:
    """(len(TRAINING),) logarithms, NaN where there is nothing to measure.

    Of all BatchNorms the median over layers of: gamma's median and spread, beta's spread, the running means' spread and
    the running deviations' median; the batches seen; the median norm of the rows that feed the head; the standard
    deviations of the head's biases and of its weights.
    """
    norms, moments = (digest.blocks[name]["grid"].astype(np.float64) for name in ("norms", "moments"))
    head, batches = digest.blocks["head"], digest.blocks["moments"]["batches"]
    values = [
        np.abs(norms[:, 0, _MIDDLE]),
        norms[:, 0, _HIGH] - norms[:, 0, _LOW],
        norms[:, 1, _HIGH] - norms[:, 1, _LOW],
        moments[:, 0, _HIGH] - moments[:, 0, _LOW],
        np.abs(moments[:, 1, _MIDDLE]),
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(All-NaN slice|Mean of empty slice)")
        found = [float(np.nanmedian(np.log(each + _TINY))) for each in values]
        found.append(float(np.log1p(np.nanmax(batches))) if np.isfinite(batches).any() else float("nan"))
        found.append(float(np.log(np.nanmedian(head["row_norm"].astype(np.float64)) + _TINY)))
    found.append(float(np.log(head["bias"].std() + _NO_BIAS)))
    found.append(float(np.log(head["matrix"].astype(np.float64).std() + _TINY)))
    return np.array(found)
