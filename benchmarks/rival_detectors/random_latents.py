"""Random latents into the head (HTell: Yu et al., arXiv 2605.18908)."""

from __future__ import annotations

import numpy as np

from rival_detectors.estimators import Calibrated, OneNumber, Pooled
from rival_detectors.models import logistic
from rival_detectors.protocol import Rival
from weightfeat import features as blocks
from weightfeat.digest import Digest
from weightfeat.digest.latents import KINDS

SOURCE = "Yu et al. 2026, arXiv 2605.18908"


def concentration(digest: Digest) -> dict[str, float]:
    """log(C p) of the class that wins most half-normal latents, p its share: 0 where all classes win alike."""
    share = digest.blocks["latents"]["share"][KINDS.index("half_normal")].astype(np.float64)
    return {"concentration": float(np.log(len(share) * share.max()))}


def responses(digest: Digest) -> dict[str, float]:
    """Concentration, entropy, gap, Dixon ratio of the mean logits and margin, for every kind of latent."""
    return blocks.row(digest, ["latents"])


ONE_NUMBER = Rival(
    "random latents, largest share (HTell)",
    SOURCE,
    concentration,
    OneNumber,
    "half-normal latents, since the head's inputs are rectified; the paper's exact statistic is not in its abstract",
)
ALL_RESPONSES = Rival(
    "random latents, all responses, logistic",
    SOURCE,
    responses,
    lambda: Calibrated(lambda: Pooled(logistic)),
    "stronger than published: four kinds of latents and five statistics of the classes' responses, fitted",
)
