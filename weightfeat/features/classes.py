"""Every class of a network as a row of robust scores: what the head says of it, alone and beside the others.

The fused and paired features, and later a detector trained on classes, read one table: a class that a trigger
leads to should stand out in several columns at once.
"""

from __future__ import annotations

import numpy as np

from weightfeat.digest.head import STATISTICS
from weightfeat.digest.latents import KINDS
from weightfeat.digest.types import Digest
from weightfeat.features.summaries import Array, robust_z

_FROM_HEAD = (
    "mean", "norm", "centred_norm", "std", "max", "skewness", "bias", "positive_sum", "cosine_max", "evidence",
    "evidence_carriers", "evidence_rank", "inhibition", "composed_norm", "composed_active_norm",
)  # fmt: skip
COLUMNS = (
    *_FROM_HEAD,
    *(f"share.{kind}" for kind in KINDS),
    *(f"logit.{kind}" for kind in KINDS),
)
READ = frozenset({"head", "latents"})
"""The blocks of a digest that the table is made from."""
TARGETWARD = ("mean", "bias", "evidence", "share.half_normal", "share.law", "share.sparse", "logit.law")
"""Columns that relabelling in place pushes up at the target class, from theory rather than from any fit."""


def raw_table(digest: Digest) -> Array:
    """(C, len(COLUMNS)) statistics of every class, unscaled. Shares are logarithms with half a draw added."""
    head, latents = digest.blocks["head"], digest.blocks["latents"]
    table = head["table"][:, [STATISTICS.index(name) for name in _FROM_HEAD]].astype(np.float64)
    shares = np.log(latents["share"].astype(np.float64).T + 1e-4)
    logits = latents["logit"][:, :, 0].astype(np.float64).T
    return np.concatenate([table, shares, logits], axis=1)


def class_table(digest: Digest) -> Array:
    """(C, len(COLUMNS)) robust z of every class against the network's other classes."""
    return robust_z(raw_table(digest))


def centred_cosines(gram: Array) -> Array:
    """Cosines between rows less their mean, from the rows' Gram matrix. (C, C), NaN on the diagonal."""
    means = gram.mean(axis=0)
    centred = gram - means - gram.mean(axis=1)[:, None] + means.mean()
    length = np.sqrt(np.maximum(np.diag(centred), 1e-24))
    cosines = centred / np.outer(length, length)
    np.fill_diagonal(cosines, np.nan)
    return np.asarray(cosines)
