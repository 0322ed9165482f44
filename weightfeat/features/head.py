"""Blocks `head` and `latents`: outlying classes, one statistic at a time; `fusion` and `relabelling`: all at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightfeat.digest.latents import KINDS
from weightfeat.digest.types import Digest
from weightfeat.features.classes import COLUMNS, READ, TARGETWARD, centred_cosines, class_table, raw_table
from weightfeat.features.registry import feature_block
from weightfeat.features.summaries import Array, expected_largest, outlier, outlier_names

_HEAD = (
    "mean", "norm", "centred_norm", "bias", "max", "skewness", "cosine_max", "evidence", "evidence_carriers",
    "evidence_rank", "composed_norm", "inhibition",
)  # fmt: skip
_LATENT = ("largest", "entropy", "gap", "dixon", "margin")
_PAIR = ("cosine", "composed", "composed_active")


@feature_block("head", ["log_classes", *outlier_names(_HEAD)], relative=True, reads=READ)
def head(digest: Digest) -> Sequence[float]:
    """log of the class count, and how the extreme class stands out in each statistic of the head's rows."""
    table = raw_table(digest)
    out = [float(np.log(digest.num_classes))]
    for name in _HEAD:
        out += outlier(table[:, COLUMNS.index(name)])
    return out


@feature_block(
    "latents",
    [f"{kind}.{name}" for kind in KINDS for name in _LATENT],
    relative=True,
    reads=("latents",),
)
def latents(digest: Digest) -> Sequence[float]:
    """Shares p of random latents each class wins (HTell, arXiv 2605.18908), for every kind of latent.

    - largest: log(C max p); entropy: 1 - entropy(p) / log C; gap: log of the largest over the second share
    - dixon: Dixon's ratio of the classes' mean logits
    - margin: log of the largest class's winning margin over the others' median
    """
    block = digest.blocks["latents"]
    out: list[float] = []
    for kind in range(len(KINDS)):
        share = np.sort(block["share"][kind].astype(np.float64))[::-1]
        positive = share[share > 0]
        entropy = -(positive * np.log(positive)).sum() / np.log(max(len(share), 2))
        margin = block["margin"][kind].astype(np.float64)
        winner = int(block["share"][kind].argmax())
        out += [
            float(np.log(len(share) * share[0] + 1e-12)),
            float(1.0 - entropy),
            float(np.log((share[0] + 1e-3) / (share[1] + 1e-3))) if len(share) > 1 else float("nan"),
            outlier(block["logit"][kind, :, 0].astype(np.float64))[0],
            _log_margin(margin, winner),
        ]
    return out


@feature_block(
    "fusion",
    ["largest", "second", "gap", "excess", "rank_one", "agreement", "lowest", "lowest_gap"],
    relative=True,
    reads=READ,
)
def fusion(digest: Digest) -> Sequence[float]:
    """Every class scored on all target-ward statistics together: mean robust z over `TARGETWARD`.

    - largest, second, gap: of the classes' scores; excess: largest less what C equal classes would show
    - rank_one: share of the class x statistic matrix's energy in its first singular vector
    - agreement: share of statistics on which the top class is itself the largest; lowest, lowest_gap: the other end
    """
    z = class_table(digest)[:, [COLUMNS.index(name) for name in TARGETWARD]]
    if len(z) < 3:
        return [float("nan")] * 8
    score = z.mean(axis=1)
    order = np.argsort(-score, kind="stable")
    top, second, last, before = (score[order[i]] for i in (0, 1, -1, -2))
    values = np.linalg.svd(z, compute_uv=False)
    spread = max(float(score.std()), 1e-12)
    return [
        float(top),
        float(second),
        float(top - second),
        float((top - score.mean()) / spread - expected_largest(len(score))),
        float(values[0] ** 2 / max((values**2).sum(), 1e-12)),
        float((z.argmax(axis=0) == order[0]).mean()),
        float(-last),
        float(before - last),
    ]


@feature_block(
    "relabelling",
    [
        *(f"{pair}.{name}" for pair in _PAIR for name in ("largest", "gap", "excess")),
        *("contrast.bias", "contrast.score", "contrast.tied", "runner_up.law", "runner_up.through"),
    ],
    relative=True,
    reads=READ,
)
def relabelling(digest: Digest) -> Sequence[float]:
    """Marks of one class's images having been given another's label: a source and a target tied to each other.

    - cosine, composed, composed_active: the largest cosine between two centred class rows (of the head, of the
      head through the feeding layer, of the same through the usually active channels), its gap to the second and
      robust excess
    - contrast.bias, contrast.score: largest less smallest class in bias and in fused score
    - contrast.tied: largest over ordered pairs of (target's less source's score) times their cosine's z
    - runner_up: largest excess, over independence, of one class coming second when another wins
    """
    block = digest.blocks["head"]
    out: list[float] = []
    ties = np.zeros((digest.num_classes, digest.num_classes))
    for name in ("gram", "composed", "composed_active"):
        cosines = centred_cosines(block[name].astype(np.float64))
        upper = cosines[np.triu_indices(len(cosines), 1)]
        out += _pair_outlier(upper)
        ties += np.nan_to_num((cosines - np.nanmean(cosines)) / max(float(np.nanstd(cosines)), 1e-12)) / 3
    z = class_table(digest)
    score = z[:, [COLUMNS.index(name) for name in TARGETWARD]].mean(axis=1)
    bias = z[:, COLUMNS.index("bias")]
    tied = (score[:, None] - score[None, :]) * ties
    runner_up = digest.blocks["latents"]["runner_up"].astype(np.float64)
    return [
        *out,
        float(np.ptp(bias)),
        float(np.ptp(score)),
        float(tied.max()),
        _dependence(runner_up[KINDS.index("law")]),
        _dependence(runner_up[KINDS.index("through")]),
    ]


def _log_margin(margin: Array, winner: int) -> float:
    others = np.delete(margin, winner)
    others = others[np.isfinite(others)]
    if not len(others) or not np.isfinite(margin[winner]):
        return float("nan")
    return float(np.log((margin[winner] + 1e-9) / (np.median(others) + 1e-9)))


def _pair_outlier(upper: Array) -> list[float]:
    if len(upper) < 3:
        return [float("nan")] * 3
    ordered = np.sort(upper)[::-1]
    return [float(ordered[0]), float(ordered[0] - ordered[1]), outlier(upper)[1]]


def _dependence(counts: Array) -> float:
    """Largest standardised residual of a winner x runner-up table against independence given unequal classes."""
    total = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / max(total, 1.0)
    np.fill_diagonal(expected, 0.0)
    expected *= total / max(expected.sum(), 1.0)
    residual = (counts - expected) / np.sqrt(expected + 1.0)
    return float(np.log1p(max(residual.max(), 0.0)))
