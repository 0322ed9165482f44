"""Block `paths`: the head multiplied with what feeds it, where one layer does and where many do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from networks import network_of, randomise_norms
from weightfeat.digest import compute
from weightfeat.digest.paths import QUANTILES, SUMS
from weightfeat.digest.types import Block
from weightfeat.zoo.vision import build_network

KEY = "e" * 64


def _weights(architecture: str) -> tuple[dict[str, np.ndarray], dict[str, Block]]:
    """A network's tensors in double precision, and its digest's blocks."""
    torch.manual_seed(3)
    model = build_network(architecture, 6)
    randomise_norms(model)
    tensors = {name: tensor.numpy().astype(np.float64) for name, tensor in model.state_dict().items()}
    return tensors, dict(compute(network_of(model), key=KEY, device="cpu").blocks)


def _assert_rows(block: Block, rows: np.ndarray) -> None:
    assert block["inputs"].tolist() == [rows.shape[1]]
    np.testing.assert_allclose(block["grid"], np.quantile(rows, QUANTILES, axis=1).T, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(block["gram"], rows @ rows.T, rtol=1e-4, atol=1e-6)
    sums = dict(zip(SUMS, block["sums"].T, strict=True))
    np.testing.assert_allclose(sums["mean"], rows.mean(axis=1), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(sums["positive"], (rows > 0).mean(axis=1))
    np.testing.assert_allclose(sums["positive_squares"], (np.maximum(rows, 0) ** 2).sum(axis=1), rtol=1e-6)


def test_one_feed_gives_the_rows_the_head_block_holds() -> None:
    tensors, blocks = _weights("shufflenet_v2_x1_0")
    norm = {part: tensors[f"conv5.1.{part}"] for part in ("weight", "running_var")}
    factor = norm["weight"] / np.sqrt(norm["running_var"] + 1e-5)
    rows = tensors["fc.weight"] @ (factor[:, None] * tensors["conv5.0.weight"].sum(axis=(2, 3)))
    _assert_rows(blocks["paths"], rows)
    np.testing.assert_allclose(blocks["head"]["through"].astype(np.float64), rows, rtol=2e-3, atol=2e-3)


def test_feeds_that_read_the_same_layer_are_added() -> None:
    tensors, blocks = _weights("squeezenet1_1")
    head = tensors["classifier.1.weight"][:, :, 0, 0]
    one, three = (tensors[f"features.12.expand{size}.weight"].sum(axis=(2, 3)) for size in ("1x1", "3x3"))
    _assert_rows(blocks["paths"], head[:, : len(one)] @ one + head[:, len(one) :] @ three)


def test_a_norm_before_the_head_scales_every_feed() -> None:
    tensors, blocks = _weights("densenet121")
    factor = tensors["features.norm5.weight"] / np.sqrt(tensors["features.norm5.running_var"] + 1e-5)
    head = tensors["classifier.weight"] * factor
    first = tensors["features.transition3.conv.weight"].sum(axis=(2, 3))
    parts = [head[:, : len(first)] @ first]
    for number in range(1, 17):
        layer = tensors[f"features.denseblock4.denselayer{number}.conv2.weight"].sum(axis=(2, 3))
        start = len(first) + 32 * (number - 1)
        parts.append(head[:, start : start + 32] @ layer)
    _assert_rows(blocks["paths"], np.concatenate(parts, axis=1))


@pytest.mark.parametrize(
    "architecture", ["googlenet", "inception_v3", "vgg11_bn", "mobilenet_v2", "resnet18"]
)
def test_every_architecture_has_rows(architecture: str) -> None:
    _, blocks = _weights(architecture)
    assert blocks["paths"]["inputs"][0] > 0
    assert np.isfinite(blocks["paths"]["sums"]).all()


def test_where_nothing_feeds_the_head_nothing_is_made_up() -> None:
    blocks = compute(network_of(torch.nn.Sequential(torch.nn.Linear(9, 4))), key=KEY, device="cpu").blocks
    assert blocks["paths"]["inputs"].tolist() == [0]
    assert np.isnan(blocks["paths"]["sums"]).all()
