"""Singular values through the Gram matrix of the smaller side, in double precision.

Digests outlive the models they came from, so the method is fixed by three rules that no later speed-up may change:

- the spectrum of an (m, n) matrix is that of its min(m, n)-sided Gram matrix;
- Gram matrices are in float64 up to a side of `DOUBLE_SIDE`, in float32 beyond (VGG's 25088 x 4096), where making them
  in double precision would take longer than all other layers and the leading values still agree to 1e-6;
- leading directions come from a fixed number of subspace iterations from a start that follows a permutation of the
  rows, so that they are a smooth, permutation-equivariant function of the weights on any device.

The error of a singular value s is about eps * s_max**2 / (2 s): relative to s_max, 1e-8 in float64 down to
s = 1e-8 s_max, and in float32 1e-5 down to s = 1e-3 s_max.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from weightfeat.digest.place import AnyArray, namespace

DOUBLE_SIDE = 2048
ITERATIONS = 16
_PANEL = 128  # rows of a Gram matrix made at once in double precision, of _DEPTH columns at a time
_DEPTH = 2048
_WIDE = 512  # rows made at once from a matrix that needs no conversion
_SQUARINGS = 14
_TINY = 1e-300


def gram_dtype(side: int, xp: Any) -> Any:
    """The dtype of namespace `xp` that a Gram matrix of this side is formed and solved in."""
    return xp.float64 if side <= DOUBLE_SIDE else xp.float32


def gram(matrix: AnyArray) -> AnyArray:
    """Gram matrix of the smaller side of (..., m, n)."""
    out, pieces = gram_pieces(matrix)
    for piece in pieces:
        piece()
    return out


def gram_pieces(matrix: AnyArray) -> tuple[AnyArray, list[Callable[[], None]]]:
    """A Gram matrix (..., k, k) still empty, and the work that fills it: pieces for any thread, in any order.

    Only blocks on and above the diagonal are multiplied. Double precision is made of a few columns at a time: a copy
    of the whole matrix would cost as much as half the product.
    """
    rows, columns = matrix.shape[-2:]
    a = matrix if rows <= columns else matrix.mT
    side = a.shape[-2]
    xp = namespace(matrix)
    dtype = gram_dtype(side, xp)
    out = xp.zeros((*a.shape[:-2], side, side), dtype=dtype, device=matrix.device)
    if matrix.dtype == dtype:
        return out, [partial(_fill, out, a, slice(low, low + _WIDE)) for low in range(0, side, _WIDE)]
    return out, [partial(_accumulate, out, a)]


def _fill(out: AnyArray, a: AnyArray, panel: slice) -> None:
    """One panel of `out`, and its mirror image, from `a` as it is."""
    block = a[..., panel, :] @ a[..., panel.start :, :].mT
    out[..., panel, panel.start :] = block
    out[..., panel.start :, panel] = block.mT


def _accumulate(out: AnyArray, a: AnyArray) -> None:
    """All of `out`, from `a` in the precision of `out`."""
    xp, side = namespace(out), out.shape[-1]
    panels = [slice(low, low + _PANEL) for low in range(0, side, _PANEL)]
    for start in range(0, a.shape[-1], _DEPTH):
        part = xp.astype(a[..., start : start + _DEPTH], out.dtype)
        for panel in panels:
            out[..., panel, panel.start :] += part[..., panel, :] @ part[..., panel.start :, :].mT
    for panel in panels:
        out[..., panel.stop :, panel] = out[..., panel, panel.stop :].mT


def singular_values(gram_matrix: AnyArray) -> AnyArray:
    """Singular values, descending, from a Gram matrix (..., k, k). numpy solves single precision in double."""
    xp = namespace(gram_matrix)
    return xp.flip(xp.sqrt(xp.clip(xp.linalg.eigvalsh(gram_matrix), 0, None)), axis=-1)


def leading_directions(gram_matrix: AnyArray, count: int) -> tuple[AnyArray, AnyArray]:
    """Leading `count` eigenvectors (k, count) and square-rooted Ritz values (count,) of a Gram matrix (k, k).

    Block subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4) with twice the block, started from the
    rows of largest norm: a choice that moves with a permutation of the rows.
    """
    xp, side = namespace(gram_matrix), gram_matrix.shape[-1]
    block = min(side, 2 * count)
    scale = xp.clip(xp.linalg.trace(gram_matrix), float(xp.finfo(gram_matrix.dtype).tiny), None)
    g = gram_matrix / scale
    start = xp.argsort(-xp.linalg.diagonal(g), stable=True)[:block]
    basis = xp.linalg.qr(xp.take(g, start, axis=1)).Q
    for _ in range(ITERATIONS // 2):
        basis = xp.linalg.qr(g @ (g @ basis)).Q
    values, rotation = xp.linalg.eigh(basis.mT @ g @ basis)
    keep = min(count, block)
    strength = xp.sqrt(xp.clip(xp.flip(values, axis=-1)[:keep], 0, None) * scale)
    return xp.flip(basis @ rotation, axis=-1)[:, :keep], strength


def spectral_norms(filters: AnyArray) -> AnyArray:
    """Largest singular value of each of (b, m, n) small matrices, n a kernel's few taps. Shape (b,), float64.

    Squaring tiny Gram matrices in a batch beats b eigensolvers. After `_SQUARINGS` squarings the eigenvalues' mean,
    weighed by their own 2**14-th powers, is at least 1 - 1 / (2**14 e) of the largest: 1e-5 for the norm.
    """
    xp, trace = namespace(filters), namespace(filters).linalg.trace
    if min(filters.shape[-2:]) == 1:
        return xp.sqrt(xp.sum(xp.square(filters.reshape(len(filters), -1)), axis=1, dtype=xp.float64))
    tall = filters.shape[-1] <= filters.shape[-2]
    small = xp.astype(filters.mT @ filters if tall else filters @ filters.mT, xp.float64)
    scale = xp.clip(trace(small), _TINY, None)[:, None, None]
    small = small / scale
    power = small
    for _ in range(_SQUARINGS):
        power = power @ power
        power = power / xp.clip(trace(power), _TINY, None)[:, None, None]
    # trace(P G) / trace(P): the Rayleigh quotient averaged over what the power leaves of the eigenvectors.
    rayleigh = xp.sum(power * small, axis=(-2, -1)) / xp.clip(trace(power), _TINY, None)
    return xp.sqrt(xp.clip(rayleigh * scale[:, 0, 0], 0, None))
