"""Which of several networks in a file is read: the usual one, said so, or the one under the key that is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from weightfeat.checkpoint import Checkpoint, read
from weightfeat.errors import UnsupportedLayout


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))


ONE, TWO = net(1).state_dict(), net(2).state_dict()


def saved(folder: Path, content: object) -> Path:
    torch.save(content, folder / "model.pt")
    return folder / "model.pt"


def bias(found: Checkpoint) -> list[float]:
    return next(t.data.tolist() for t in found.tensors if t.name.endswith("3.bias"))


def notes(found: Checkpoint) -> str:
    return " ".join(finding.detail for finding in found.findings)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"model": ONE, "ema": TWO}, "ema"),
        ({"model": ONE, "nets": {"best": TWO}}, "nets.best"),
        ({"model": ONE, "nets": {"best": TWO}}, "best"),
        ({"models": [ONE, TWO]}, "models.1"),
        ([ONE, TWO], "1"),
        ({"model": net(1), "teacher": net(2)}, "teacher"),
        ({"state_dict": {**ONE, **{f"ema_model.{name}": t for name, t in TWO.items()}}}, "ema_model"),
        ({**{f"a.{name}": t for name, t in ONE.items()}, **{f"b.{name}": t for name, t in TWO.items()}}, "b"),
        ({"model": ONE, "_ema": TWO}, "_ema"),
        ({**ONE, **{f"_ema.{name}": t for name, t in TWO.items()}}, "_ema"),
        ({**ONE, **{f"ema_{name}": t for name, t in TWO.items()}}, "ema"),
        ({**ONE, **{f"_ema_{name}": t for name, t in TWO.items()}}, "_ema_"),
        ({f"_orig_mod.{name}": t for name, t in TWO.items()}, "_orig_mod"),
        ({f"_module.{name}": t for name, t in TWO.items()}, "_module"),
    ],
)
def test_a_key_chooses_the_network(tmp_path: Path, content: object, key: str) -> None:
    found = read(saved(tmp_path, content), key=key)
    assert [tensor.name for tensor in found.tensors] == list(TWO)
    assert bias(found) == TWO["3.bias"].tolist()


def test_a_key_chooses_in_formats_that_have_names_only(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(
        {f"{key}.{name}": t for key, held in (("a", ONE), ("b", TWO)) for name, t in held.items()}, path
    )
    assert bias(read(path, key="b")) == TWO["3.bias"].tolist()
    save_file({f"_orig_mod.{name}": t for name, t in TWO.items()}, tmp_path / "compiled.safetensors")
    assert bias(read(tmp_path / "compiled.safetensors", key="_orig_mod")) == TWO["3.bias"].tolist()
    with pytest.raises(UnsupportedLayout, match="nothing is under the key 'c'; there are a, b"):
        read(path, key="c")


def test_a_key_under_which_nothing_is_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedLayout, match="nothing is under the key 'emu'; there are model, ema"):
        read(saved(tmp_path, {"model": ONE, "ema": TWO}), key="emu")


@pytest.mark.parametrize("content", [{"model": ONE, "ema": TWO}, {"last": TWO, "model": ONE}])
def test_which_of_several_networks_was_taken_is_said(tmp_path: Path, content: object) -> None:
    found = read(saved(tmp_path, content))
    assert bias(found) == ONE["3.bias"].tolist()
    assert "analysed is what is under 'model'; --key takes another part" in notes(found)


def test_a_second_network_in_a_list_is_noted(tmp_path: Path) -> None:
    assert "9 tensors under '1' are not part of the network analysed" in notes(
        read(saved(tmp_path, [ONE, TWO]))
    )


def test_an_optimisers_state_is_no_second_network(tmp_path: Path) -> None:
    module = net(1)
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.zeros(2, 3, 3, 3)).sum().backward()
    optimiser.step()
    found = read(saved(tmp_path, {"model": module.state_dict(), "optimizer": optimiser.state_dict()}))
    assert "analysed is" not in notes(found)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_body_and_its_head_under_two_keys_are_one_network(tmp_path: Path, wrapped: bool) -> None:
    body = {name: tensor for name, tensor in ONE.items() if not name.startswith("3")}
    parts = {"backbone": body, "head": {"weight": ONE["3.weight"], "bias": ONE["3.bias"]}}
    found = read(saved(tmp_path, {"state_dict": parts, "epoch": 3} if wrapped else parts))
    assert [t.name for t in found.tensors] == [*(f"backbone.{n}" for n in body), "head.weight", "head.bias"]
    assert not found.findings


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_mapping_for_each_module_is_read_as_the_network(tmp_path: Path, wrapped: bool) -> None:
    tree: dict[str, object] = {}
    for name, tensor in nn.Sequential(net(1), net(2)).state_dict().items():
        *path, leaf = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})  # type: ignore[assignment]
        place[leaf] = tensor
    found = read(saved(tmp_path, {"params": tree, "epoch": 3} if wrapped else tree))
    assert [t.name for t in found.tensors] == list(nn.Sequential(net(1), net(2)).state_dict())
    assert not found.findings


@pytest.mark.filterwarnings("ignore:.*deprecated.*")
def test_quantised_linear_layers_are_unpacked(tmp_path: Path) -> None:
    weight = torch.quantize_per_tensor(torch.randn(3, 4), 0.02, 0, torch.qint8)
    packed = {
        "fc._packed_params._packed_params": (weight, torch.ones(3)),
        "fc._packed_params.dtype": torch.qint8,
    }
    found = read(saved(tmp_path, {"conv.weight": torch.ones(4, 3, 1, 1), **packed}))
    assert [(t.name, t.shape) for t in found.tensors][1:] == [("fc.weight", (3, 4)), ("fc.bias", (3,))]


@pytest.mark.parametrize("word", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_wrappers_around_blocks_leave_no_trace_in_names(tmp_path: Path, word: str) -> None:
    inside = {name.replace(".", f".{word}.", 1): tensor for name, tensor in ONE.items()}
    assert [t.name for t in read(saved(tmp_path, inside)).tensors] == list(ONE)
