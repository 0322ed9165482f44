"""Weights kept as parts are those torch computes with, and adapters are merged or refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.utils as utils
from torch import nn
from torch.nn.utils import prune

from network_samples import checkpoint, stored
from networks import checkpoint_of, plain_cnn
from weightfeat.checkpoint.types import StoredTensor
from weightfeat.errors import UnsupportedLayout
from weightfeat.network import build

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated.*")

Change = Callable[[nn.Module], object]
CHANGES: dict[str, Change] = {
    "pruned": lambda m: prune.l1_unstructured(m, "weight", 0.4),
    "weight norm": lambda m: utils.weight_norm(m),
    "weight norm over the inputs": lambda m: utils.weight_norm(m, dim=1),
    "weight norm as a parametrization": lambda m: utils.parametrizations.weight_norm(m),
    "spectral norm": lambda m: utils.spectral_norm(m, n_power_iterations=5),
    "spectral norm as a parametrization": lambda m: utils.parametrizations.spectral_norm(m),
    "normalised, then pruned": lambda m: prune.l1_unstructured(utils.weight_norm(m), "weight_v", 0.3),
}


@pytest.mark.parametrize("which", ["all", "conv1", "fc"])
@pytest.mark.parametrize("change", list(CHANGES))
def test_a_changed_network_is_the_one_that_torch_computes_with(change: str, which: str) -> None:
    module = plain_cnn()
    for name in ("conv0", "conv1", "conv2", "fc") if which == "all" else (which,):
        CHANGES[change](module.get_submodule(name))
    module.eval()
    module(torch.zeros(1, 3, 16, 16))  # hooks compute the weights
    network = build(checkpoint_of(module))
    assert [layer.name for layer in network.layers] == ["conv0", "conv1", "conv2", "fc"]
    for layer in network.layers:
        expected = module.get_submodule(layer.name).weight.detach().numpy()
        np.testing.assert_allclose(layer.weight, expected, rtol=1e-5, atol=1e-7)
    assert any("were computed from" in finding.detail for finding in network.findings)
    plain = build(checkpoint_of(plain_cnn()))
    assert [layer.norm_after is None for layer in network.layers] == [
        layer.norm_after is None for layer in plain.layers
    ]


def codes_of(weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip(np.round(weight / scale), -127, 127).astype(np.int8)


def with_weight(*replacement: StoredTensor) -> object:
    """A network whose fc.weight is kept as these tensors instead."""
    tensors = [t for t in checkpoint_of(plain_cnn()).tensors if t.name != "fc.weight"]
    return build(checkpoint([*tensors, *replacement]))


@pytest.mark.parametrize(
    "scale_name", ["fc.weight_scale", "fc.weight_scale_inv", "fc.weight.scale", "fc.SCB"]
)
@pytest.mark.parametrize("by_row", [True, False])
def test_codes_and_scales_stand_for_weights(scale_name: str, by_row: bool) -> None:
    weight = plain_cnn().get_submodule("fc").weight.detach().numpy()
    scale = np.abs(weight).max(axis=1) / 127 if by_row else np.array([np.abs(weight).max() / 127])
    codes = codes_of(weight, scale[:, None] if by_row else scale)
    kept = scale * 127 if scale_name.endswith("SCB") else scale
    network = with_weight(stored("fc.weight", codes), stored(scale_name, kept.astype(np.float32)))
    np.testing.assert_allclose(network.layers[network.head].weight, weight, atol=scale.max())  # type: ignore[attr-defined]


def test_scales_of_blocks_and_zero_points() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 255, (7, 24)).astype(np.uint8)
    scale, zero = rng.random((2, 3)).astype(np.float32), np.array([120], np.int32)
    network = with_weight(
        stored("fc.weight", codes), stored("fc.weight_scale", scale), stored("fc.weight_zero_point", zero)
    )
    expected = (codes.astype(np.float32) - 120) * scale.repeat(4, axis=0)[:7].repeat(8, axis=1)
    np.testing.assert_allclose(network.layers[network.head].weight, expected, rtol=1e-6)  # type: ignore[attr-defined]


def test_codes_without_a_scale_are_refused() -> None:
    with pytest.raises(UnsupportedLayout, match=r"'fc\.weight' \(int8\)"):
        with_weight(stored("fc.weight", np.ones((7, 24), np.int8)))


def adapted(update: float, *, peft: bool = True) -> list[StoredTensor]:
    base = list(checkpoint_of(plain_cnn()).tensors)
    if peft:
        start = "base_model.model."
        base = [StoredTensor(start + t.name.replace("fc.", "fc.base_layer."), t.dtype, t.data) for t in base]
    a, b = ("lora_A.default.weight", "lora_B.default.weight") if peft else ("lora_A", "lora_B")
    start = "base_model.model.fc." if peft else "fc."
    low = np.ones((2, 24), np.float32)
    return [*base, stored(start + a, low), stored(start + b, np.full((7, 2), update, np.float32))]


@pytest.mark.parametrize("peft", [True, False])
def test_an_adapter_that_is_not_merged_is_refused(peft: bool) -> None:
    with pytest.raises(UnsupportedLayout, match="is not merged into its weights"):
        build(checkpoint(adapted(0.1, peft=peft)))


def updated(module: str, alpha: str, factor: float) -> list[StoredTensor]:
    """PEFT's names: a convolution and the head, adapted, with their factor beside them."""
    base = checkpoint_of(plain_cnn()).tensors
    shape = next(tensor.shape for tensor in base if tensor.name == f"{module}.weight")
    rng, one = np.random.default_rng(1), [1] * (len(shape) - 2)
    low = rng.standard_normal((2, *shape[1:])).astype(np.float32)
    high = rng.standard_normal((shape[0], 2, *one)).astype(np.float32)
    return [
        *(StoredTensor(t.name.replace(f"{module}.", f"{module}.base_layer."), t.dtype, t.data) for t in base),
        stored(f"{module}.lora_A.default.weight", low),
        stored(f"{module}.lora_B.default.weight", high),
        stored(f"{module}.{alpha}", np.full((), factor, np.float32)),
    ]


@pytest.mark.parametrize("module", ["conv1", "fc"])
@pytest.mark.parametrize(("alpha", "factor", "scale"), [("alpha", 3.0, 1.5), ("scaling", 0.25, 0.25)])
def test_an_adapter_whose_factor_is_in_the_file_is_merged_as_torch_merges_it(
    module: str, alpha: str, factor: float, scale: float
) -> None:
    tensors = updated(module, alpha, factor)
    network, plain = build(checkpoint(tensors)), plain_cnn()
    low, high = (
        torch.from_numpy(next(np.array(t.data) for t in tensors if f"lora_{part}" in t.name)) for part in "AB"
    )
    weight = plain.get_submodule(module).weight.detach()
    change = torch.einsum("or...,ri...->oi...", high.expand(*high.shape[:2], *low.shape[2:]), low)
    found = next(layer.weight for layer in network.layers if layer.name == module)
    np.testing.assert_allclose(found, (weight + scale * change).numpy(), rtol=1e-5, atol=1e-6)
    assert any("merged into 1 weights" in finding.detail for finding in network.findings)


def test_adapters_of_several_names_or_of_other_shapes_are_not_merged() -> None:
    tensors = updated("fc", "alpha", 3.0)
    second = [
        StoredTensor(t.name.replace("default", "other"), t.dtype, t.data) for t in tensors if "lora" in t.name
    ]
    with pytest.raises(UnsupportedLayout, match="is not merged into its weights"):
        build(checkpoint([*tensors, *second]))
    cut = [stored(t.name, t.data[:, :-1]) if "lora_A" in t.name else t for t in tensors]
    with pytest.raises(UnsupportedLayout, match="is not merged into its weights"):
        build(checkpoint(cut))


@pytest.mark.parametrize(
    "names",
    [
        ("fc.lora_a.weight", "fc.lora_b.weight"),
        ("fc_lora.down.weight", "fc_lora.up.weight"),
        ("fc.lora.down", "fc.lora.up"),
        ("fc.lora_kernel_a", "fc.lora_kernel_b"),
        ("conv2.adapter.down.weight", "conv2.adapter.up.weight"),
    ],
)
def test_adapters_of_other_libraries_are_not_passed_over(names: tuple[str, str]) -> None:
    low, high = np.ones((2, 24), np.float32), np.ones((7, 2), np.float32)
    tensors = [*checkpoint_of(plain_cnn()).tensors, stored(names[0], low), stored(names[1], high)]
    with pytest.raises(UnsupportedLayout, match="an adapter of 2 tensors"):
        build(checkpoint(tensors))


@pytest.mark.parametrize("spread", ["rho", "sigma"])
def test_weights_that_are_drawn_at_each_use_are_their_means(spread: str) -> None:
    plain, drawn = checkpoint_of(plain_cnn()), []
    for tensor in plain.tensors:
        if tensor.name.startswith(("conv", "fc")):
            drawn += [
                stored(f"{tensor.name}_mu", tensor.data),
                stored(f"{tensor.name}_{spread}", tensor.data - 3),
            ]
            drawn += [stored(f"{tensor.name}_epsilon", tensor.data + 1)]
        else:
            drawn.append(tensor)
    network, expected = build(checkpoint(drawn)), build(plain)
    assert [layer.name for layer in network.layers] == [layer.name for layer in expected.layers]
    for layer, wanted in zip(network.layers, expected.layers, strict=True):
        assert np.array_equal(layer.weight, wanted.weight)
    assert any("means of weights that are drawn" in finding.detail for finding in network.findings)


@pytest.mark.parametrize("peft", [True, False])
def test_an_adapter_of_zeros_changes_nothing(peft: bool) -> None:
    network, plain = build(checkpoint(adapted(0.0, peft=peft))), build(checkpoint_of(plain_cnn()))
    for layer, expected in zip(network.layers, plain.layers, strict=True):
        assert np.array_equal(layer.weight, expected.weight)
    assert network.layers[network.head].name.endswith("fc")


@pytest.mark.parametrize(
    "beside", [[], [stored("base_model.model.score.weight", np.ones((3, 8), np.float32))]]
)
def test_an_adapter_alone_is_no_network(beside: list[StoredTensor]) -> None:
    alone = [tensor for tensor in adapted(0.1) if "lora" in tensor.name]
    more = [StoredTensor(t.name.replace("fc", f"layer{n}"), t.dtype, t.data) for n in range(3) for t in alone]
    with pytest.raises(UnsupportedLayout, match="an update of a network that is not in the file"):
        build(checkpoint([*more, *beside]))


def test_modules_that_an_adapter_saved_take_the_place_of_the_original_ones() -> None:
    tensors = []
    for tensor in checkpoint_of(plain_cnn()).tensors:
        if tensor.name.startswith("fc."):
            leaf = tensor.name.removeprefix("fc.")
            tensors.append(stored(f"fc.original_module.{leaf}", tensor.data))
            tensors.append(stored(f"fc.modules_to_save.default.{leaf}", tensor.data * 2))
        else:
            tensors.append(tensor)
    network = build(checkpoint(tensors))
    head = network.layers[network.head]
    assert head.name == "fc"
    assert np.array_equal(head.weight, plain_cnn().get_submodule("fc").weight.detach().numpy() * 2)
    assert len(network.layers) == 4
    second = stored("fc.modules_to_save.other.weight", head.weight)
    with pytest.raises(UnsupportedLayout, match="replaced by several adapters: 'default', 'other'"):
        build(checkpoint([*tensors, second]))
