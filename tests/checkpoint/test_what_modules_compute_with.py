"""Whole modules: what is read is what their classes compute with, wherever it lies, or the file is refused.

torch loads and runs each file in a process of its own, to prove that the other weights are what it computes with.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.weight_norm import WeightNorm

from torch_child import TorchChild, image, torch_child
from weightfeat.checkpoint import read
from weightfeat.errors import UnsupportedLayout

CLASSES = 5


@pytest.fixture(scope="module")
def child() -> Iterator[TorchChild]:
    with torch_child() as running:
        yield running


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = OrderedDict(
        conv=nn.Conv2d(3, 8, 3),
        norm=nn.BatchNorm2d(8),
        relu=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        fc=nn.Linear(8, CLASSES),
    )
    return nn.Sequential(layers).eval()


def computed(module: nn.Module) -> bytes:
    with torch.no_grad():
        return module(torch.from_numpy(image())).numpy().tobytes()


def in_buffers(module: nn.Module) -> nn.Module:
    """The same module with its parameters in buffers that state_dict() leaves out."""
    for layer in module.modules():
        for name, value in list(layer._parameters.items()):
            del layer._parameters[name]
            layer.register_buffer(name, None if value is None else value.detach(), persistent=False)
    return module


def decoy_below(seed: int = 2) -> nn.Module:
    holder = nn.Identity()
    for name, layer in network(seed).named_children():
        holder.add_module(name, layer)
    return holder


def hidden_in_buffers() -> nn.Module:
    module = in_buffers(network(1))
    module.add_module("decoy", decoy_below())
    return module


def hidden_head() -> nn.Module:
    module = network(1)
    module.fc = nn.Sequential(OrderedDict(real=in_buffers(module.fc), shown=nn.Identity()))
    module.fc.shown.weight = network(2).fc.weight
    return module


def decoy_on_identity() -> nn.Module:
    module = network(1)
    module.add_module("z", nn.Identity())
    module.z.weight, module.z.bias = network(2).fc.weight, network(2).fc.bias
    return module


def decoy_on_a_relu_child() -> nn.Module:
    module = network(1)
    module.relu.add_module("fc", network(2).fc)
    return module


def decoy_on_the_sequential() -> nn.Module:
    module = network(1)
    module.register_parameter("weight", nn.Parameter(network(2).fc.weight.detach()))
    return module


def second_weight_on_a_linear() -> nn.Module:
    module = network(1)
    module.fc.register_parameter("kernel", nn.Parameter(network(2).fc.weight.detach()))
    return module


def recomputed_by_a_hook() -> nn.Module:
    module = network(1)
    weight = module.fc.weight.detach()
    del module.fc._parameters["weight"]
    module.fc.register_buffer("weight", network(2).fc.weight.detach())
    module.fc.register_buffer("weight_g", weight.norm(dim=1, keepdim=True), persistent=False)
    module.fc.register_buffer("weight_v", weight, persistent=False)
    module.fc.register_forward_pre_hook(WeightNorm("weight", 0))
    return module


def unused_child_of_data_parallel() -> nn.Module:
    module = nn.DataParallel(network(1))
    module.add_module("zfc", network(2).fc)
    return module


DECEITS: dict[str, Callable[[], nn.Module]] = {
    made.__name__.replace("_", " "): made
    for made in (
        hidden_in_buffers,
        hidden_head,
        decoy_on_identity,
        decoy_on_a_relu_child,
        decoy_on_the_sequential,
        second_weight_on_a_linear,
        recomputed_by_a_hook,
        unused_child_of_data_parallel,
    )
}


@pytest.mark.parametrize("name", DECEITS)
def test_what_a_class_never_computes_with_is_refused(tmp_path: Path, child: TorchChild, name: str) -> None:
    path = tmp_path / "network.pt"
    torch.save(DECEITS[name](), path)
    (answer,) = child.ask([path], "module")
    assert answer.tensors is not None, answer.said
    hidden = np.frombuffer(answer.tensors["output"][2], np.float32)
    assert np.allclose(hidden, np.frombuffer(computed(network(1)), np.float32), atol=1e-5)
    with pytest.raises(UnsupportedLayout, match=r"never computes|not persistent"):
        read(path)


def counted(module: nn.Module) -> nn.Module:
    """What tools that count operations leave in modules."""
    for layer in module.modules():
        layer.register_buffer("total_ops", torch.zeros(1, dtype=torch.float64))
    return module


def masked(module: nn.Module) -> nn.Module:
    module.register_buffer("attention_mask", torch.zeros(5, 5), persistent=False)
    return module


def weight_normed(module: nn.Sequential) -> nn.Module:
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(module.fc)
    return module


SOUND: dict[str, tuple[Callable[[nn.Sequential], nn.Module], int]] = {
    "plain": (lambda module: module, 0),
    "in DataParallel": (nn.DataParallel, 0),
    "counted": (counted, 0),
    "with a buffer that is not persistent": (masked, 1),
    "weight norm": (weight_normed, 0),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_tools_and_wrappers_leave_is_read(tmp_path: Path, name: str) -> None:
    change, findings = SOUND[name]
    module, path = change(network(1)), tmp_path / "network.pt"
    torch.save(module, path)
    found = read(path)
    expected = {key.removeprefix("module."): value for key, value in module.state_dict().items()}
    assert {tensor.name for tensor in found.tensors} == expected.keys()
    assert [finding.kind for finding in found.findings] == ["outside-tables"] * findings


def test_most_weights_in_other_buffers_are_refused(tmp_path: Path) -> None:
    class Own(nn.Module):
        pass

    Own.__module__, Own.__qualname__ = __name__, "Own"
    globals()["Own"] = Own
    module = Own()
    module.fc = nn.Linear(8, CLASSES)
    module.register_buffer("kernel", torch.ones(64, 64), persistent=False)
    path = tmp_path / "network.pt"
    torch.save(module, path)
    with pytest.raises(UnsupportedLayout, match="not persistent"):
        read(path)
