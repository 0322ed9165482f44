"""WeightWatcher's per-layer table (Martin and Mahoney; PyPI weightwatcher) with our classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np

from rival_detectors.protocol import Rival
from weightfeat.detector import Detector
from weightfeat.digest import Digest
from weightfeat.errors import BadRound
from weightfeat.features.summaries import pooled, pooled_names
from weightfeat.metaparameters import Metaparameters

FOLDER = "weightwatcher"
METRICS = (
    "alpha", "alpha_weighted", "log_alpha_norm", "log_norm", "log_spectral_norm", "stable_rank", "D", "xmin",
    "entropy", "matrix_rank", "rank_loss", "sv_max", "sv_min", "num_spikes", "sigma",
)  # fmt: skip
NAMES = pooled_names(METRICS)


def rival(root: Path, params: Metaparameters) -> Rival | None:
    """The rival over `root`/weightwatcher/<sha256>.csv, what `WeightWatcher.analyze()` gave; None without tables."""
    folder = root / FOLDER
    if not any(folder.glob("*.csv")):
        return None
    return Rival(
        "WeightWatcher table, our classifier",
        "weightwatcher 0.7.7, default analysis",
        _reader(folder),
        partial(Detector, params),
        "its per-layer metrics pooled over depth, then the detector with the same metaparameters as ours",
    )


def _reader(folder: Path) -> Callable[[Digest], Mapping[str, float]]:
    @cache
    def read(key: str) -> dict[str, float]:
        return summary(folder / f"{key}.csv")

    return lambda digest: read(digest.key)


def summary(path: Path) -> dict[str, float]:
    """Every metric's mean over quarters of the depth, its largest and its smallest; a metric not in the table is NaN.

    Raises BadRound where the table of a network is absent or not one.
    """
    import pandas as pd

    try:
        frame = pd.read_csv(path)
        layers = pd.to_numeric(frame["layer_id"]).to_numpy(dtype=np.float64)
        columns = [
            pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
            if name in frame
            else np.full(len(frame), np.nan)
            for name in METRICS
        ]
    except (OSError, ValueError, KeyError) as error:
        raise BadRound(
            f"no usable WeightWatcher table ({type(error).__name__})",
            where=path,
            expected="the details that WeightWatcher.analyze() returns, as CSV with a column layer_id",
            remedy="analyse every network of the set, or remove the folder",
        ) from error
    depth = layers / max(float(layers.max(initial=0.0)), 1.0)
    values = [value for column in columns for value in pooled(np.where(column > -99, column, np.nan), depth)]
    return dict(zip(NAMES, values, strict=True))
