"""The largest z of a channel's Lipschitz constant within its layer (CLP: Zheng et al., ECCV 2022)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rival_detectors.estimators import OneNumber
from rival_detectors.protocol import Rival
from weightfeat.digest import Digest
from weightfeat.digest.channels import QUANTILES, STATISTICS


def features(digest: Digest) -> dict[str, float]:
    """Largest (max - mean) / std over the layers, of the channel-Lipschitz constants of a layer's channels."""
    layers = digest.blocks["layers"]
    inside = np.isin(layers["kind"], ("conv", "grouped", "depthwise")) & (layers["role"] != "head")
    grid = digest.blocks["channels"]["grid"][inside, STATISTICS.index("lipschitz")].astype(np.float64)
    if not len(grid):
        return {"clp": float("nan")}
    mean, std = moments_of(grid)
    z = (grid[:, -1] - mean) / np.where(std > 0, std, np.inf)
    return {"clp": float(z.max())}


def moments_of(grid: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of the law whose quantile function runs straight between `QUANTILES`. (L,), (L,)"""
    width = np.diff(QUANTILES)
    low, high = grid[:, :-1], grid[:, 1:]
    mean = ((low + high) / 2 * width).sum(axis=1)
    square = ((low**2 + low * high + high**2) / 3 * width).sum(axis=1)
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


RIVAL = Rival(
    "channel-Lipschitz maximum z (CLP)",
    "Zheng et al. 2022, ECCV, equation 6",
    features,
    lambda: OneNumber(by_architecture=True),
    "published for pruning; mean and deviation from 13 quantiles; set against its own architecture's training networks",
)
