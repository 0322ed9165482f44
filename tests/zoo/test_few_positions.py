"""A product of matrices in a convolution's place gives its values and its gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from weightfeat.zoo.few_positions import POSITIONS, FewPositions

# channels in, out, kernel, stride, padding, side of the input
LAYERS = {
    "1x1": (5, 7, (1, 1), (1, 1), (0, 0), 4),
    "1x1 of stride 2": (5, 7, (1, 1), (2, 2), (0, 0), 7),
    "3x3": (6, 4, (3, 3), (1, 1), (1, 1), 4),
    "3x3 of stride 2": (6, 4, (3, 3), (2, 2), (1, 1), 7),
    "3x3 without padding": (6, 4, (3, 3), (2, 2), (0, 0), 8),
    "1x7": (3, 4, (1, 7), (1, 1), (0, 3), 3),
    "one position": (3, 4, (3, 3), (1, 1), (1, 1), 1),
    "strides that differ": (3, 4, (3, 2), (3, 1), (1, 0), 4),
}


def through(layer: nn.Module, x: Tensor, products: bool) -> list[Tensor]:
    """Output, gradient of x and gradients of the layer's parameters, of a loss that weighs every output."""
    layer, x = copy.deepcopy(layer), x.detach().clone().requires_grad_()
    if products:
        with FewPositions():
            out = layer(x)
    else:
        out = layer(x)
    weights = torch.arange(out.numel(), dtype=torch.float64).cos().to(out.dtype).view(out.shape)
    (out * weights).sum().backward()
    return [out.detach(), x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_gradients_are_a_convolutions(name: str, bias: bool) -> None:
    channels, out, kernel, stride, padding, side = LAYERS[name]
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, out, kernel, stride, padding, bias=bias).double()
    x = torch.randn(3, channels, side, side, dtype=torch.float64)
    assert layer(x).shape[2] * layer(x).shape[3] <= POSITIONS
    for memory in (torch.contiguous_format, torch.channels_last):
        before, after = (
            through(layer.to(memory_format=memory), x.contiguous(memory_format=memory), products)
            for products in (False, True)
        )
        for one, other in zip(before, after, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_it_is_not_for_is_left_alone() -> None:
    torch.manual_seed(0)
    wide, x = nn.Conv2d(4, 4, 3, padding=1), torch.randn(2, 4, 5, 5)  # 25 positions
    small = torch.randn(2, 4, 4, 4)
    others = (
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 2, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
    )
    with FewPositions():
        assert wide(x).grad_fn.name() == "ConvolutionBackward0"
        assert all(layer(small).grad_fn.name() == "ConvolutionBackward0" for layer in others)
        assert nn.Conv2d(4, 4, 3)(small).grad_fn.name() != "ConvolutionBackward0"


def test_autocast_casts_both_operands() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(64, 32, 3, padding=1), torch.randn(8, 64, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        plain = layer(x)
        with FewPositions():
            product = layer(x)
    assert plain.dtype == product.dtype == torch.bfloat16
    torch.testing.assert_close(plain, product, rtol=2e-2, atol=2e-2)
    product.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
