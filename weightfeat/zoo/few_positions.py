"""Convolutions whose output has few positions, as products of matrices.

Where a map has shrunk to four by four or less, oneDNN's kernels on a CPU spend most of their time moving weights: the
gradient of a WideResNet's last 3x3 weights (1024 x 1024, two by two positions, 32 images) takes ten times as long
as the product of matrices that it is. With patches as rows (Chellapilla, Puri, Simard 2006) a step of
wide_resnet50_2 or resnet18 takes half the time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

POSITIONS = 16
"""Most positions of an output map that is computed so."""
_Pair = tuple[int, int]


class FewPositions(TorchFunctionMode):
    """Inside it, `torch.conv2d` with at most `POSITIONS` output positions is a product of matrices.

    To rounding it gives what it gave outside, and gradients too; under autocast both operands are its type.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d and not kwargs and _is_small(*args):
            return _convolve(*args)
        return func(*args, **(kwargs or {}))


def _is_small(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: Any, dilation: _Pair, groups: int
) -> bool:
    if groups != 1 or tuple(dilation) != (1, 1) or isinstance(padding, str):
        return False
    height, width = _out(x, weight, stride, padding)
    return height * width <= POSITIONS


def _out(x: Tensor, weight: Tensor, stride: _Pair, padding: _Pair) -> _Pair:
    """Height and width of the output."""
    height, width = (
        (x.shape[2 + i] + 2 * padding[i] - weight.shape[2 + i]) // stride[i] + 1 for i in range(2)
    )
    return height, width


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: _Pair, padding: _Pair, *_: Any
) -> Tensor:
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        x, weight = x.to(dtype), weight.to(dtype)
    out: Tensor = _Product.apply(x, weight, tuple(stride), tuple(padding))  # type: ignore[no-untyped-call]
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]


class _Product(torch.autograd.Function):
    """x (n, c, h, w) with weight (o, c, p, q): (n, o, h', w'), channels last in memory as x should be."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: _Pair, padding: _Pair) -> Tensor:
        height, width = _out(x, weight, stride, padding)
        rows = _patches(x, weight.shape[2:], stride, padding, (height, width))
        flat = weight.permute(0, 2, 3, 1).reshape(len(weight), -1)
        ctx.save_for_backward(rows, flat)
        ctx.shapes = x.shape, weight.shape, stride, padding
        return (rows @ flat.T).view(len(x), height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        rows, flat = ctx.saved_tensors
        shape, (out, channels, *taps), stride, padding = ctx.shapes
        height, width = gradient.shape[2:]
        g = gradient.permute(0, 2, 3, 1).reshape(-1, out)
        to_x = to_weight = None
        if ctx.needs_input_grad[0]:
            spread = (g @ flat).view(-1, height, width, *taps, channels)
            to_x = _overlapped(spread, shape, stride, padding)
        if ctx.needs_input_grad[1]:
            to_weight = (g.T @ rows).view(out, *taps, channels).permute(0, 3, 1, 2)
        return to_x, to_weight, None, None


def _patches(x: Tensor, taps: torch.Size, stride: _Pair, padding: _Pair, out: _Pair) -> Tensor:
    """What each output position sees, (n * h' * w', p * q * c)."""
    (down, right), n, c = padding, len(x), x.shape[1]
    padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, right, right, down, down))
    image, row, column, channel = padded.stride()
    strides = (image, row * stride[0], column * stride[1], row, column, channel)
    return padded.as_strided((n, *out, *taps, c), strides).reshape(n * out[0] * out[1], -1)


def _overlapped(spread: Tensor, shape: torch.Size, stride: _Pair, padding: _Pair) -> Tensor:
    """Sums what positions (n, h', w', p, q, c) send back to each place of x, (n, c, h, w); in float32 or more."""
    n, c, h, w = shape
    _, height, width, p, q, _ = spread.shape
    dtype = torch.promote_types(spread.dtype, torch.float32)
    total = torch.zeros(n, h + 2 * padding[0], w + 2 * padding[1], c, dtype=dtype, device=spread.device)
    for i in range(p):
        for j in range(q):
            down = slice(i, i + (height - 1) * stride[0] + 1, stride[0])
            right = slice(j, j + (width - 1) * stride[1] + 1, stride[1])
            total[:, down, right] += spread[:, :, :, i, j]
    inside = total[:, padding[0] : padding[0] + h, padding[1] : padding[1] + w]
    return inside.to(spread.dtype).permute(0, 3, 1, 2)
