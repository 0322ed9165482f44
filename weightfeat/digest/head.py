"""Block `head`: every class's row of the classification layer, alone and through the layer before it.

C classes, D head inputs; K = F F^T is the Gram matrix of the feeding layers' BatchNorm-folded rows (`composition`).

- `matrix` (C, D) and the channels' `centre`, `spread` (latent law), `lipschitz`, `row_norm` (D,), all float16:
  the raw material
- `bias` (C,) float64; `table` (C, S) float32, one column a name of `STATISTICS`
- `gram` (C, C) H H^T, `composed` (C, C) H K H^T, `composed_active` (C, C) the same with each channel weighed by
  P(active): float32
- `top` (C, 12, 6) float32: the channels with most evidence for the class: weight, centre, spread, Lipschitz
  constant, largest weight for any other class, summed negative weight for the others
- `through` (C, n) float16: H F summed over taps, where one layer feeds the head; `feeds` (C, feeds) float32:
  norm of the evidence through each feed
- `left` (C, 8) float32: squared cosine of each class's row with the feeding layer's leading left directions; (C, 0)
  where several layers feed the head, or singular values were not asked for

Evidence of class c through channel d is relu(H_cd) E[activation_d].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.composition import Part, compose, effective_rank, part
from weightfeat.digest.latent_law import LatentLaw, head_matrix, latent_law
from weightfeat.digest.layers import Feeding
from weightfeat.digest.place import AnyArray, Place, host
from weightfeat.digest.tensors import LayerTensors, at_place
from weightfeat.digest.types import Block
from weightfeat.network.types import Network

VERSION = 1
TOP = 12
STATISTICS = (
    "mean", "norm", "centred_norm", "std", "max", "min", "skewness", "kurtosis", "bias", "positive_sum",
    "negative_sum", "top_share", "cosine_max", "cosine_min", "evidence", "evidence_carriers", "evidence_rank",
    "evidence_top_share", "inhibition", "composed_norm", "composed_active_norm",
)  # fmt: skip
_TINY = 1e-30


def head(network: Network, feeding: Mapping[int, Feeding], place: Place) -> Block:
    """The whole block, from what each layer that feeds the head gave by itself, by its index."""
    matrix = head_matrix(network)
    layer = network.layers[network.head]
    bias = np.zeros(len(matrix)) if layer.bias is None else layer.bias.astype(np.float64)
    law = latent_law(network)
    feeds = [at_place(network.layers[feed.layer], place) for feed in network.head_feeds]
    parts = _parts(network, feeding, feeds)
    left = feeding[network.head_feeds[0].layer].left if len(feeds) == 1 else None
    evidence = np.maximum(matrix, 0) * law.mean
    composed, active = (compose(rows, parts, place) for rows in (matrix, matrix * law.active))
    rank = effective_rank(evidence, parts, place)
    carriers = _carriers(network, feeding, matrix.shape[1])
    return {
        "matrix": matrix.astype(np.float16),
        "bias": bias,
        "centre": law.centre.astype(np.float16),
        "spread": law.spread.astype(np.float16),
        "row_norm": carriers[:, 0].astype(np.float16),
        "lipschitz": carriers[:, 1].astype(np.float16),
        "gram": (matrix @ matrix.T).astype(np.float32),
        "composed": composed.astype(np.float32),
        "composed_active": active.astype(np.float32),
        "table": _table(matrix, bias, law, evidence, rank, composed, active).astype(np.float32),
        "top": _top(matrix, evidence, law, carriers[:, 1]),
        "through": _through(matrix, feeds),
        "feeds": _feed_norms(network, evidence),
        "left": _alignment(matrix, left),
    }


def _parts(network: Network, feeding: Mapping[int, Feeding], feeds: Sequence[LayerTensors]) -> list[Part]:
    """K, as far as it is known."""
    found = (
        part(slice(feed.start, feed.stop), tensors, feeding[feed.layer].gram)
        for feed, tensors in zip(network.head_feeds, feeds, strict=True)
    )
    return [each for each in found if each is not None]


def _table(
    h: AnyArray,
    bias: AnyArray,
    law: LatentLaw,
    evidence: AnyArray,
    rank: AnyArray,
    composed: AnyArray,
    active: AnyArray,
) -> AnyArray:
    """(C, len(STATISTICS)), the columns in that order."""
    centred = h - h.mean(axis=0)
    std = h.std(axis=1)
    z = (h - h.mean(axis=1, keepdims=True)) / np.maximum(std, _TINY)[:, None]
    positive = np.maximum(h, 0)
    cosine = _cosines(centred)
    total = evidence.sum(axis=1)
    columns = [
        h.mean(axis=1),
        np.linalg.norm(h, axis=1),
        np.linalg.norm(centred, axis=1),
        std,
        h.max(axis=1),
        h.min(axis=1),
        (z**3).mean(axis=1),
        (z**4).mean(axis=1) - 3.0,
        bias,
        positive.sum(axis=1),
        np.minimum(h, 0).sum(axis=1),
        _top_share(positive),
        cosine.max(axis=1, initial=-1.0, where=~np.eye(len(h), dtype=bool)),
        cosine.min(axis=1, initial=1.0, where=~np.eye(len(h), dtype=bool)),
        total,
        _participation(evidence),
        rank,
        _top_share(evidence),
        (np.minimum(h, 0) * law.mean).sum(axis=1),
        np.sqrt(np.maximum(np.diag(composed), 0)),
        np.sqrt(np.maximum(np.diag(active), 0)),
    ]
    return np.stack(columns, axis=1)


def _participation(rows: AnyArray) -> AnyArray:
    """Number of channels that carry a row: (sum a)^2 / sum a^2. (C,)"""
    return np.asarray(rows.sum(axis=1) ** 2 / np.maximum((rows**2).sum(axis=1), _TINY))


def _top_share(rows: AnyArray) -> AnyArray:
    """Share of a non-negative row held by its largest hundredth of entries (at least one). (C,)"""
    count = max(1, rows.shape[1] // 100)
    top = np.sort(rows, axis=1)[:, -count:].sum(axis=1)
    return np.asarray(top / np.maximum(rows.sum(axis=1), _TINY))


def _cosines(rows: AnyArray) -> AnyArray:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)
    return np.asarray(unit @ unit.T)


def _carriers(network: Network, feeding: Mapping[int, Feeding], width: int) -> AnyArray:
    """(D, 2): row norm and Lipschitz constant of the channel of a feeding layer behind each head input."""
    out = np.full((width, 2), np.nan)
    for feed in network.head_feeds:
        statistics = feeding[feed.layer].channels.statistics
        if len(statistics) == feed.stop - feed.start:
            out[feed.start : feed.stop] = statistics[:, [0, 3]]
    return out


def _top(h: AnyArray, evidence: AnyArray, law: LatentLaw, lipschitz: AnyArray) -> NDArray[np.float32]:
    count = min(TOP, h.shape[1])
    classes = np.arange(len(h))[:, None]
    channels = np.argsort(-evidence, axis=1, kind="stable")[:, :count]
    rival = _largest_of_others(h)
    against = np.minimum(h, 0).sum(axis=0) - np.minimum(h, 0)
    columns = [
        h[classes, channels],
        law.centre[channels],
        law.spread[channels],
        lipschitz[channels],
        rival[classes, channels],
        against[classes, channels],
    ]
    joint = np.stack(columns, axis=2)
    return np.pad(joint, ((0, 0), (0, TOP - count), (0, 0)), constant_values=np.nan).astype(np.float32)


def _largest_of_others(h: AnyArray) -> AnyArray:
    """Of each class and channel the largest weight that another class has there, (C, D); NaN with no other."""
    if len(h) == 1:
        return np.full_like(h, np.nan)
    second, first = np.partition(h, -2, axis=0)[-2:]
    return np.where(np.arange(len(h))[:, None] == h.argmax(axis=0), second, first)


def _through(h: AnyArray, feeds: list[LayerTensors]) -> NDArray[np.float16]:
    if len(feeds) != 1 or len(feeds[0].weight) != h.shape[1]:
        return np.zeros((len(h), 0), np.float16)
    place = feeds[0].place
    return host(place.xp.asarray(h, device=place.device) @ feeds[0].summed()).astype(np.float16)


def _feed_norms(network: Network, evidence: AnyArray) -> NDArray[np.float32]:
    norms = [np.linalg.norm(evidence[:, feed.start : feed.stop], axis=1) for feed in network.head_feeds]
    return np.stack(norms, axis=1).astype(np.float32) if norms else np.zeros((len(evidence), 0), np.float32)


def _alignment(h: AnyArray, left: AnyArray | None) -> NDArray[np.float32]:
    if left is None or len(left) != h.shape[1]:
        return np.zeros((len(h), 0), np.float32)
    unit = h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), _TINY)
    cosines = unit @ host(left).astype(np.float64)
    return np.asarray(cosines**2, np.float32)
