"""Dixon's Q of the head's row means (Fields et al., Trojan Signatures, arXiv 2109.02836)."""

from __future__ import annotations

from functools import cache

import numpy as np

from rival_detectors.estimators import OneNumber
from rival_detectors.protocol import Rival
from weightfeat.digest import Digest
from weightfeat.digest.head import STATISTICS

DRAWS = 20_000


def features(digest: Digest) -> dict[str, float]:
    """(largest - second) / (largest - smallest) row mean, over the value a tenth of clean heads of C rows exceed.

    The paper compares Q with the critical value for its number of classes (0.468 for eight); here that number differs
    from network to network, so the ratio is what can be compared.
    """
    means = np.sort(digest.blocks["head"]["table"][:, STATISTICS.index("mean")])[::-1]
    spread = means[0] - means[-1]
    if len(means) < 3 or spread <= 0:
        return {"dixon": float("nan")}
    return {"dixon": float((means[0] - means[1]) / spread) / critical(len(means))}


@cache
def critical(count: int) -> float:
    """Dixon's two-sided 90 % critical value of the ratio for `count` >= 3 normal values, simulated.

    Two-sided at 90 %: the upper end exceeds it in a twentieth of samples (Rorabacher 1991 lists 0.468 for eight).
    """
    draws = np.sort(np.random.default_rng([count, DRAWS]).standard_normal((DRAWS, count)), axis=1)
    both = np.concatenate([draws[:, -1] - draws[:, -2], draws[:, 1] - draws[:, 0]])
    return float(np.quantile(both / np.tile(draws[:, -1] - draws[:, 0], 2), 0.95))


RIVAL = Rival(
    "Dixon Q of head row means",
    "Fields et al. 2021, arXiv 2109.02836",
    features,
    OneNumber,
    "Q over its critical value for the number of classes; calibrated by a logistic instead of thresholded",
)
