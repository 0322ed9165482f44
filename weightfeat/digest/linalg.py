"""Singular values through the Gram matrix of the smaller side, in double precision.

Digests outlive the models they came from, so the method is fixed by three rules that no later speed-up may change:

- the spectrum of an (m, n) matrix is that of its min(m, n)-sided Gram matrix;
- Gram and eigenvalues are in float64 up to a side of `DOUBLE_SIDE`, in float32 beyond (VGG's 25088 x 4096), where
  double precision would take most of the time of the whole network and the leading values still agree to 1e-6;
- leading directions come from a fixed number of subspace iterations from a start that follows a permutation of the
  rows, so that they are a smooth, permutation-equivariant function of the weights on any device.

The error of a singular value s is about eps * s_max**2 / (2 s): relative to s_max, 1e-8 in float64 down to
s = 1e-8 s_max, and in float32 1e-5 down to s = 1e-3 s_max.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

DOUBLE_SIDE = 2048
ITERATIONS = 16
_PANEL = 128  # rows of a Gram matrix made at once in double precision, of _DEPTH columns at a time
_DEPTH = 2048
_WIDE = 512  # rows made at once from a matrix that needs no conversion
_SQUARINGS = 14


def gram_dtype(side: int) -> torch.dtype:
    """The dtype a Gram matrix of this side is formed and solved in."""
    return torch.float64 if side <= DOUBLE_SIDE else torch.float32


def gram(matrix: Tensor) -> Tensor:
    """Gram matrix of the smaller side of (..., m, n)."""
    out, pieces = gram_pieces(matrix)
    for piece in pieces:
        piece()
    return out


def gram_pieces(matrix: Tensor) -> tuple[Tensor, list[Callable[[], None]]]:
    """A Gram matrix (..., k, k) still empty, and the work that fills it: pieces for any thread, in any order.

    Only blocks on and above the diagonal are multiplied. Double precision is made of a few columns at a time: a copy
    of the whole matrix would cost as much as half the product.
    """
    rows, columns = matrix.shape[-2:]
    a = matrix if rows <= columns else matrix.mT
    side = a.shape[-2]
    dtype = gram_dtype(side)
    out = torch.zeros((*a.shape[:-2], side, side), dtype=dtype, device=a.device)
    if matrix.dtype == dtype:
        return out, [partial(_fill, out, a, slice(low, low + _WIDE)) for low in range(0, side, _WIDE)]
    return out, [partial(_accumulate, out, a)]


def _fill(out: Tensor, a: Tensor, panel: slice) -> None:
    """One panel of `out`, and its mirror image, from `a` as it is."""
    block = a[..., panel, :] @ a[..., panel.start :, :].mT
    out[..., panel, panel.start :] = block
    out[..., panel.start :, panel] = block.mT


def _accumulate(out: Tensor, a: Tensor) -> None:
    """All of `out`, from `a` in the precision of `out`."""
    side = out.shape[-1]
    panels = [slice(low, low + _PANEL) for low in range(0, side, _PANEL)]
    for start in range(0, a.shape[-1], _DEPTH):
        part = a[..., start : start + _DEPTH].to(out.dtype)
        for panel in panels:
            _add_product(out[..., panel, panel.start :], part[..., panel, :], part[..., panel.start :, :].mT)
    for panel in panels:
        out[..., panel.stop :, panel] = out[..., panel, panel.stop :].mT


def _add_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    if out.ndim == 2:
        out.addmm_(left, right)
    else:
        out += left @ right


def singular_values(gram_matrix: Tensor) -> Tensor:
    """Singular values, descending, from a Gram matrix (..., k, k)."""
    values: Tensor = torch.linalg.eigvalsh(gram_matrix)
    return values.clamp_min(0).sqrt().flip(-1)


def leading_directions(gram_matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Leading `count` eigenvectors (k, count) and square-rooted Ritz values (count,) of a Gram matrix (k, k).

    Block subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4) with twice the block, started from the
    rows of largest norm: a choice that moves with a permutation of the rows.
    """
    side = gram_matrix.shape[-1]
    block = min(side, 2 * count)
    scale = gram_matrix.diagonal().sum().clamp_min(torch.finfo(gram_matrix.dtype).tiny)
    g = gram_matrix / scale
    start = g.diagonal().topk(block).indices
    basis = torch.linalg.qr(g[:, start]).Q
    for _ in range(ITERATIONS // 2):
        basis = torch.linalg.qr(g @ (g @ basis)).Q
    values, rotation = torch.linalg.eigh(basis.mT @ g @ basis)
    keep = min(count, block)
    return (basis @ rotation).flip(-1)[:, :keep], (values.flip(-1)[:keep].clamp_min(0) * scale).sqrt()


def spectral_norms(filters: Tensor) -> Tensor:
    """Largest singular value of each of (b, m, n) small matrices, n a kernel's few taps. Shape (b,), float64.

    Squaring tiny Gram matrices in a batch beats b eigensolvers. After `_SQUARINGS` squarings the eigenvalues' mean,
    weighed by their own 2**14-th powers, is at least 1 - 1 / (2**14 e) of the largest: 1e-5 for the norm.
    """
    if min(filters.shape[-2:]) == 1:
        norms: Tensor = torch.linalg.vector_norm(filters.flatten(1), dim=1, dtype=torch.float64)
        return norms
    small = (
        filters.mT @ filters if filters.shape[-1] <= filters.shape[-2] else filters @ filters.mT
    ).double()
    scale = small.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-300)[:, None, None]
    small = small / scale
    power = small
    for _ in range(_SQUARINGS):
        power = power @ power
        power = power / power.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-300)[:, None, None]
    # trace(P G) / trace(P): the Rayleigh quotient averaged over what the power leaves of the eigenvectors.
    rayleigh = (power * small).sum((-2, -1)) / power.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-300)
    return (rayleigh * scale[:, 0, 0]).clamp_min(0).sqrt()
