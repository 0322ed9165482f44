"""Round 11's published weight statistics with boosted trees, one model an architecture."""

from __future__ import annotations

import numpy as np

from rival_detectors.estimators import Calibrated, PerArchitecture
from rival_detectors.models import boosted_trees
from rival_detectors.protocol import Rival
from weightfeat.digest import Digest
from weightfeat.digest.channels import QUANTILES as CHANNEL_QUANTILES
from weightfeat.digest.distribution import QUANTILES

MIDDLE = int(np.argmin(np.abs(QUANTILES - 0.5)))
CHANNEL_MIDDLE = int(np.argmin(np.abs(CHANNEL_QUANTILES - 0.5)))


def features(digest: Digest) -> dict[str, float]:
    """Per tensor: max, mean, median; per layer also stable rank F^2 / s1^2 and the 16 largest squared singular values.

    Norm layers' gamma and beta give max and median. Columns carry the tensor's number in module order.
    """
    distribution, spectrum = digest.blocks["distribution"], digest.blocks["spectrum"]
    out: dict[str, float] = {}
    for at, (moments, grid) in enumerate(zip(distribution["moments"], distribution["grid"], strict=True)):
        if np.isfinite(moments[0]):
            out |= {f"{at}.max": grid[-1], f"{at}.mean": moments[1], f"{at}.median": grid[MIDDLE]}
    squares = spectrum["leading"].astype(np.float64) ** 2
    for at, (row, powers) in enumerate(zip(squares, spectrum["powers"], strict=True)):
        if row[0] > 0:
            out[f"{at}.stable_rank"] = powers[1] / row[0]
        out |= {f"{at}.s{rank}": value for rank, value in enumerate(row) if np.isfinite(value)}
    for at, norm in enumerate(digest.blocks["norms"]["grid"][:, :2]):
        for name, row in zip(("gamma", "beta"), norm, strict=True):
            out |= {f"{at}.{name}.max": row[-1], f"{at}.{name}.median": row[CHANNEL_MIDDLE]}
    return out


RIVAL = Rival(
    "R11 statistics, boosted trees",
    "TrojAI Round 11 submissions: per-tensor max, mean, median, stable rank, squared singular values",
    features,
    lambda: Calibrated(lambda: PerArchitecture(boosted_trees)),
    "the 16 largest singular values a layer, which is what a digest keeps; no norm means; Platt inside the fold",
)
