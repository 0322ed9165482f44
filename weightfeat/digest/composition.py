"""A head's rows through the layers that feed it: products with K, and never the whole of K.

K (D, D) is the Gram matrix F F^T of the feeding layers' BatchNorm-folded rows: block-diagonal over feeds, and the
identity where nothing known feeds a channel, so that a composition falls back to the head's row itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightfeat.digest.place import AnyArray, Place, host, namespace
from weightfeat.digest.tensors import LayerTensors

_PANEL = 256  # rows of a block made at once where it is not kept
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Part:
    """What is known of K over a `segment` of the head's inputs: `matrix` is its block (d, d), or, where F (d, n) is
    `tall`, more rows than columns, F itself in double precision, with which products are cheaper and more exact."""

    segment: slice
    matrix: AnyArray
    tall: bool


def part(segment: slice, tensors: LayerTensors, plain: AnyArray | None) -> Part | None:
    """A feed's part; None where the layer's channels are not the segment's. `plain` is the Gram matrix of the layer's
    `matrix`, where it is at hand."""
    if len(tensors.weight) != segment.stop - segment.start:
        return None
    xp, fold = tensors.place.xp, tensors.fold()
    rows = tensors.weight.reshape(len(tensors.weight), -1)
    height, length = rows.shape
    if plain is not None and tuple(plain.shape) == (1, height, height):
        factor = None if fold is None else xp.astype(fold, plain.dtype)
        return Part(segment, plain[0] if factor is None else plain[0] * factor[:, None] * factor, tall=False)
    folded = xp.astype(rows, xp.float64)
    folded = folded if fold is None else folded * fold[:, None]
    tall = height > length
    return Part(segment, folded if tall else folded @ folded.mT, tall)


def compose(h: Matrix, parts: Sequence[Part], place: Place) -> Matrix:
    """H K H^T (C, C) of the head's rows (C, D)."""
    alone = h[:, _unfed(h.shape[1], parts)]
    total = alone @ alone.T
    for each in parts:
        a = place.xp.asarray(h[:, each.segment], dtype=each.matrix.dtype, device=place.device)
        through = a @ each.matrix
        total += host(through @ (through if each.tall else a).mT)
    return np.asarray(total)


def effective_rank(evidence: Matrix, parts: Sequence[Part], place: Place) -> Matrix:
    """Participation ratio of the spectrum of diag(e_c) F: tr(M)^2 / tr(M^2) with M = diag(e_c) K diag(e_c). (C,)

    Every part's weights e_c^2 are measured in their largest: single precision can neither overflow nor vanish.
    """
    weight = np.square(_in_units(evidence)[0])
    alone = weight[:, _unfed(weight.shape[1], parts)]
    trace, square = alone.sum(axis=1), np.square(alone).sum(axis=1)
    for each in parts:
        own, unit = _in_units(weight[:, each.segment])
        w = place.xp.asarray(own, device=place.device)
        traces = (_traces_of_rows if each.tall else _traces_of_gram)(each.matrix, w)
        trace += unit * host(traces[0])
        square += unit**2 * host(traces[1])
    return np.asarray(np.divide(np.square(trace), square, out=np.zeros_like(square), where=square > 0))


def _in_units(rows: Matrix) -> tuple[Matrix, Matrix]:
    """Non-negative rows (C, d) in their largest entries, and those, (C,)."""
    unit = rows.max(axis=1)
    return rows / np.where(unit > 0, unit, 1.0)[:, None], unit


def _traces_of_gram(gram: AnyArray, weight: AnyArray) -> tuple[AnyArray, AnyArray]:
    """tr(M) and tr(M^2) of diag(w_c)^(1/2) K diag(w_c)^(1/2) for weights (C, d). (C,) each."""
    xp = namespace(gram)
    w = xp.astype(weight, gram.dtype)
    return w @ xp.linalg.diagonal(gram), xp.sum((w @ xp.square(gram)) * w, axis=1)


def _traces_of_rows(rows: AnyArray, weight: AnyArray) -> tuple[AnyArray, AnyArray]:
    """The same from F (d, n): K in single precision, which a sum of squares bears, and only what is on and above its
    diagonal, a panel at a time."""
    xp = namespace(rows)
    unit = float(xp.max(xp.abs(rows))) or 1.0
    f, w = xp.astype(rows / unit, xp.float32), xp.astype(weight, xp.float32)
    square = xp.zeros(len(w), dtype=xp.float64, device=w.device)
    for low in range(0, len(f), _PANEL):
        here, beyond = slice(low, low + _PANEL), slice(low + _PANEL, None)
        own, others = xp.square(f[here] @ f[here].mT), xp.square(f[here] @ f[beyond].mT)
        square += xp.sum((w[:, here] @ own) * w[:, here], axis=1, dtype=xp.float64)
        square += 2 * xp.sum((w[:, here] @ others) * w[:, beyond], axis=1, dtype=xp.float64)
    return weight @ xp.sum(xp.square(rows), axis=1), square * unit**4


def _unfed(width: int, parts: Sequence[Part]) -> NDArray[np.bool_]:
    """Which of the head's inputs no part covers. (D,)"""
    unfed = np.ones(width, np.bool_)
    for each in parts:
        unfed[each.segment] = False
    return unfed
