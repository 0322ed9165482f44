"""What needs no training networks at all: the class that stands out most, in ten statistics or in its row's norm."""

from __future__ import annotations

import numpy as np

from rival_detectors.estimators import OneNumber
from rival_detectors.protocol import Rival
from weightfeat.detector.classes.rows import class_rows
from weightfeat.detector.general.statistics import loudness
from weightfeat.digest import Digest
from weightfeat.digest.head import STATISTICS


def mean_z(digest: Digest) -> dict[str, float]:
    """The largest over classes of the mean of ten z within the network; NaN with fewer than three classes."""
    if digest.num_classes < 3:
        return {"mean_z": float("nan")}
    return {"mean_z": float(loudness(class_rows(digest)).max())}


def row_norm(digest: Digest) -> dict[str, float]:
    """The largest z of a row's norm among the network's rows; NaN where all are alike."""
    norms = digest.blocks["head"]["table"][:, STATISTICS.index("norm")].astype(np.float64)
    deviation = float(norms.std())
    return {"row_norm": float((norms.max() - norms.mean()) / deviation) if deviation > 0 else float("nan")}


MEAN_Z = Rival(
    "unfitted average of ten statistics",
    "what `detector/general` begins with, nothing of it learned",
    mean_z,
    OneNumber,
    "calibrated by a logistic instead of thresholded",
)
ROW_NORM = Rival(
    "final-layer row-norm outliers",
    "model scanners that flag a row whose norm has a z above 3",
    row_norm,
    OneNumber,
    "calibrated by a logistic instead of thresholded at 3",
)
