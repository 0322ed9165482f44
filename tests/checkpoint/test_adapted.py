"""A network beside a low-rank adapter is the one that PEFT merges, or is refused in a line that says why."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from networks import plain_cnn
from weightfeat.checkpoint import read
from weightfeat.checkpoint.folders import is_network
from weightfeat.errors import UnreadableFile, UnsupportedLayout, WeightfeatError
from weightfeat.network import build

RANK = 2
State = dict[str, torch.Tensor]


def update(module: str) -> State:
    """A trained update of a module, under PEFT's names as it saves them."""
    weight = plain_cnn().get_submodule(module).weight
    generator, ones = torch.Generator().manual_seed(3), [1] * (weight.ndim - 2)
    start = f"base_model.model.{module}.lora_"
    return {
        f"{start}A.weight": torch.randn(RANK, *weight.shape[1:], generator=generator),
        f"{start}B.weight": torch.randn(len(weight), RANK, *ones, generator=generator),
    }


def written(folder: Path, adapter: State, *, base: str = "model.safetensors", **config: object) -> Path:
    """A folder with the network, the adapter and its config."""
    state = plain_cnn().state_dict()
    (save_file if base.endswith("safetensors") else torch.save)(state, folder / base)
    save_file(adapter, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "target_modules": ["conv1", "fc"], **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def weight_of(path: Path, module: str) -> np.ndarray:
    return next(layer.weight for layer in build(read(path)).layers if layer.name == module)


def merged(module: str, factor: float) -> np.ndarray:
    """W + s B A, as peft/tuners/lora/layer.py computes it."""
    low, high = update(module).values()
    change = torch.einsum("or,r...->o...", high.flatten(1), low)
    return (plain_cnn().get_submodule(module).weight.detach() + factor * change).numpy()


@pytest.mark.parametrize("base", ["model.safetensors", "pytorch_model.bin", "best.pt"])
@pytest.mark.parametrize("module", ["conv1", "fc"])
@pytest.mark.parametrize(
    ("config", "factor"),
    [
        ({}, 6 / RANK),
        ({"use_rslora": True}, 6 / sqrt(RANK)),
        ({"alpha_pattern": {"conv1": 1, "fc": 1}}, 1 / RANK),
        ({"r": 8, "rank_pattern": {"conv1": RANK, "fc": RANK}}, 6 / RANK),
        ({"fan_in_fan_out": True, "init_lora_weights": "gaussian"}, 6 / RANK),
        ({"target_modules": "all-linear"}, 6 / RANK),
    ],
)
def test_a_folder_is_merged_by_its_config(
    tmp_path: Path, base: str, module: str, config: dict[str, object], factor: float
) -> None:
    folder = written(tmp_path, update(module), base=base, **config)
    np.testing.assert_allclose(weight_of(folder, module), merged(module, factor), rtol=1e-5, atol=1e-6)
    assert any("merged into 1 weights" in finding.detail for finding in build(read(folder)).findings)
    assert is_network(path.name for path in folder.iterdir())


def test_modules_and_biases_of_the_adapter_take_the_place_of_the_networks(tmp_path: Path) -> None:
    whole = {
        "base_model.model.fc.weight": torch.full((4, 24), 0.5),
        "base_model.model.fc.bias": torch.arange(4.0),
    }
    network = build(read(written(tmp_path, update("conv1") | whole)))
    head = network.layers[network.head]
    assert head.bias is not None
    assert (network.num_classes, head.bias.tolist()) == (4, [0.0, 1.0, 2.0, 3.0])
    assert np.array_equal(head.weight, np.full((4, 24), 0.5, np.float32))


def test_another_factor_is_another_digest(tmp_path: Path) -> None:
    digests = {read(written(tmp_path, update("fc"), lora_alpha=alpha)).sha256 for alpha in (4, 6)}
    assert len(digests) == 2


def one_file(folder: Path, **config: object) -> Path:
    """Network and adapter in one file, as the state_dict of a network that PEFT wraps, beside the config."""
    written(folder, update("fc"), **config)
    (folder / "model.safetensors").unlink()
    state = {
        "base_model.model." + name.replace("fc.", "fc.base_layer."): value
        for name, value in plain_cnn().state_dict().items()
    }
    named = {name.replace(".weight", ".default.weight"): value for name, value in update("fc").items()}
    torch.save(state | named, folder / "wrapped.pt")
    return folder / "wrapped.pt"


def test_one_file_of_both_is_merged_by_the_config_beside_it(tmp_path: Path) -> None:
    path = one_file(tmp_path)
    found = next(layer.weight for layer in build(read(path)).layers if layer.name.endswith("fc"))
    np.testing.assert_allclose(found, merged("fc", 3.0), rtol=1e-5, atol=1e-6)
    (tmp_path / "adapter_config.json").unlink()
    with pytest.raises(UnsupportedLayout, match="its factor is not in the file"):
        build(read(path))


def test_the_network_given_without_its_adapter_says_so(tmp_path: Path) -> None:
    folder = written(tmp_path, update("fc"))
    found = read(folder / "model.safetensors")
    assert any("give the folder for both together" in finding.detail for finding in found.findings)
    assert np.array_equal(
        weight_of(found.path, "fc"), plain_cnn().get_submodule("fc").weight.detach().numpy()
    )


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"peft_type": "LOHA"}, "of the kind 'LOHA', and LORA alone is merged"),
        ({"use_dora": True}, "has 'use_dora', which is not merged"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            "has 'init_lora_weights=pissa_niter_4', which is not merged",
        ),
        ({"r": 4}, r"the update of 'fc' has rank 2, and adapter_config\.json says 4"),
        ({"r": 0.5}, "has rank 2"),
        ({"target_modules": ["conv1"]}, "'fc' is updated, and adapter_config.json does not name it"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "patterns that are no plain names"),
        ({"lora_alpha": "6"}, "the lora_alpha of its adapter_config.json is no number above zero"),
        ({"lora_alpha": float("inf")}, "is no number above zero"),
        ({"rank_pattern": {"fc": 0}}, "the rank_pattern of its adapter_config.json is no number above zero"),
    ],
)
def test_a_config_that_no_rule_follows_is_refused(
    tmp_path: Path, config: dict[str, object], line: str
) -> None:
    with pytest.raises(WeightfeatError, match=line) as caught:
        build(read(written(tmp_path, update("fc"), **config)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, '{"r": null}'])
def test_a_config_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    folder = written(tmp_path, update("fc"))
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(UnreadableFile, match=r"adapter_config\.json"):
        read(folder)


def test_an_adapter_of_another_network_or_of_none_is_refused(tmp_path: Path) -> None:
    other = {name.replace("fc", "score"): value for name, value in update("fc").items()}
    with pytest.raises(UnsupportedLayout, match="updates 'score', of which the network has no weight"):
        read(written(tmp_path, other))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UnsupportedLayout, match="an adapter with 0 networks beside it"):
        read(tmp_path)
    (tmp_path / "adapter_model.safetensors").unlink()
    with pytest.raises(UnreadableFile, match=r"stands beside no adapter_model\.safetensors"):
        read(tmp_path)


@pytest.mark.parametrize("side", [3, 4])
def test_inputs_first_weights_are_told_by_their_shape(tmp_path: Path, side: int) -> None:
    """A square weight could be either, so fan_in_fan_out is refused there."""
    low, high = torch.ones(RANK, side), torch.arange(8.0).reshape(4, RANK)
    state = plain_cnn().state_dict() | {"proj.weight": torch.zeros(side, 4)}
    start = "base_model.model.proj.lora_"
    adapter = {f"{start}A.weight": low, f"{start}B.weight": high}
    folder = written(tmp_path, adapter, target_modules=["proj"], fan_in_fan_out=True)
    save_file(state, folder / "model.safetensors")
    if side == 4:
        with pytest.raises(UnsupportedLayout, match="'proj' is square"):
            read(folder)
        return
    from weightfeat.network.low_rank import merged as merged_weights

    found = merged_weights(read(folder).tensors)["proj.weight"].weight.data
    assert np.array_equal(found, 3 * (high @ low).T.numpy())
