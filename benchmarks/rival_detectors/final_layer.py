"""Anomaly indicators of the final layer (DFBScanner: Yu et al., arXiv 2605.18907), as far as its abstract tells."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from rival_detectors.estimators import Calibrated, OneNumber
from rival_detectors.protocol import Rival
from weightfeat.digest import Digest
from weightfeat.digest.head import STATISTICS

INDICATORS = ("mean", "max", "std", "norm", "skewness", "bias")
CONSISTENCY = 1.4826


def features(digest: Digest) -> dict[str, float]:
    """log(1 + largest composite anomaly over classes), for every non-empty set of `INDICATORS`.

    An indicator's anomaly index of a class is (x - median) / (1.4826 MAD) over the classes; a clue is the mean index
    of a set of indicators. Which set is used is chosen on the training networks. The logarithm only helps calibration.
    """
    table = digest.blocks["head"]["table"]
    index = np.stack([anomaly(table[:, STATISTICS.index(name)]) for name in INDICATORS], axis=1)
    out: dict[str, float] = {}
    for size in range(1, len(INDICATORS) + 1):
        for chosen in combinations(range(len(INDICATORS)), size):
            name = "+".join(INDICATORS[i] for i in chosen)
            out[name] = float(np.log1p(max(index[:, list(chosen)].mean(axis=1).max(), 0.0)))
    return out


def anomaly(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed distance from the median in robust standard deviations, within +-50; 0 where there is no spread. (C,)"""
    centred = values - np.median(values)
    mad = CONSISTENCY * float(np.median(np.abs(centred)))
    return np.clip(centred / mad, -50, 50) if mad > 0 else np.zeros_like(centred)


RIVAL = Rival(
    "final-layer indicators (DFBScanner)",
    "Yu et al. 2026, arXiv 2605.18907",
    features,
    lambda: Calibrated(OneNumber),
    "reconstructed: the abstract names indicators of the final layer, a chosen combination and the maximum anomaly, "
    "not their formulas; here row mean, maximum, deviation, norm, skewness and bias; their combination is chosen, and "
    "Platt fitted, inside the fold",
)
