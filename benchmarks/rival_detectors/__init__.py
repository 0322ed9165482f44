"""Other people's weights-only detectors behind one protocol, run on the folds of our own."""

from __future__ import annotations

from pathlib import Path

from rival_detectors import (
    channel_lipschitz,
    dixon,
    final_layer,
    outliers,
    random_latents,
    round11,
    sorted_weights,
    weightwatcher,
)
from rival_detectors.protocol import Rival, known_by, run, table
from weightfeat.metaparameters import Metaparameters

__all__ = ["RIVALS", "Rival", "known_by", "rivals", "run", "table"]

RIVALS: dict[str, Rival] = {
    "dixon": dixon.RIVAL,
    "final-layer": final_layer.RIVAL,
    "latents": random_latents.ONE_NUMBER,
    "latents-all": random_latents.ALL_RESPONSES,
    "clp": channel_lipschitz.RIVAL,
    "r11": round11.RIVAL,
    "sorted": sorted_weights.PER_ARCHITECTURE,
    "sorted-pooled": sorted_weights.POOLED,
    "mean-z": outliers.MEAN_Z,
    "row-norm": outliers.ROW_NORM,
}
"""Every rival that needs a digest only."""


def rivals(root: Path, params: Metaparameters) -> dict[str, Rival]:
    """`RIVALS`, and WeightWatcher's where its tables lie in the digest folder `root`."""
    found = weightwatcher.rival(root, params)
    return RIVALS | ({} if found is None else {"weightwatcher": found})
