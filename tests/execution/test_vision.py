"""torchvision is imported the plain way first, and stock networks come without auxiliary heads or warnings."""

from __future__ import annotations

import gc
import importlib
from types import ModuleType
from typing import Any

import pytest
import torch

from weightfeat.execution import vision


def test_torchvision_imports_whatever_build_it_is() -> None:
    module = vision.torchvision()
    assert module.__name__ == "torchvision"
    gc.collect()  # the declared operators must outlive it
    assert torch.ops.torchvision.nms is not None
    assert vision.torchvision() is module


def test_a_working_install_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("torchvision")
    monkeypatch.setattr(importlib, "import_module", lambda name: fake)
    monkeypatch.setattr(vision, "_declare_missing_operators", lambda: pytest.fail("declared without need"))
    assert vision.torchvision.__wrapped__() is fake


def test_another_failure_of_the_import_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise RuntimeError("something else")

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setattr(vision, "_declare_missing_operators", lambda: pytest.fail("declared without need"))
    with pytest.raises(RuntimeError, match="something else"):
        vision.torchvision.__wrapped__()


@pytest.mark.parametrize("architecture", ["googlenet", "inception_v3"])
def test_auxiliary_heads_are_there_only_on_request(architecture: str) -> None:
    with torch.device("meta"):
        plain = vision.build_network(architecture, 7).state_dict()
        both = vision.build_network(architecture, 7, aux_heads=True).state_dict()
    assert set(plain) < set(both)
    assert all(name.lower().startswith("aux") for name in set(both) - set(plain))


def test_a_built_network_runs_and_gives_the_classes_asked_for() -> None:
    network = vision.build_network("squeezenet1_1", 6).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 6)


def test_weights_are_drawn_from_torchs_seed() -> None:
    torch.manual_seed(3)
    first = vision.build_network("squeezenet1_1", 4).state_dict()
    torch.manual_seed(3)
    second = vision.build_network("squeezenet1_1", 4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="resnet19"):
        vision.build_network("resnet19", 4)
