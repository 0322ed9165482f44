"""Small networks run from their weights answer as the code that trained them does."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import nn

from weightfeat import checkpoint, network
from weightfeat.execution.pieces import HABITS, Habit
from weightfeat.execution.small import candidates
from weightfeat.network.types import Network
from weightfeat.probes.images import images
from weightfeat.zoo.recipes.networks import NETWORKS, Shape, build, network_named

RUN = tuple(each.name for each in NETWORKS if each.group != "stock" and each.name != "nin")
USUAL = 32


def _read(module: nn.Module, folder: Path) -> Network:
    torch.save(module.state_dict(), folder / "model.pt")
    return network.build(checkpoint.read(folder / "model.pt"))


def _stirred(module: nn.Module) -> nn.Module:
    """Batch norms with moments and factors of their own, as after a training; means of what a rectifier lets through
    where the norm follows one."""
    random = torch.Generator().manual_seed(3)
    for each in module.modules():
        if (
            isinstance(each, nn.BatchNorm2d)
            and each.running_mean is not None
            and each.running_var is not None
        ):
            each.running_mean.copy_(torch.randn(len(each.running_mean), generator=random) * 0.1)
            each.running_var.uniform_(0.8, 1.2, generator=random)
            each.weight.data.uniform_(0.8, 1.2, generator=random)
            each.bias.data.normal_(0, 0.1, generator=random)
    return module.eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", RUN)
def test_answers_are_those_of_the_module(name: str, channels: int, tmp_path: Path) -> None:
    module = _stirred(build(name, Shape(channels, USUAL, 7), seed=1))
    if name == "keras_cnn_bn":
        for each in module.modules():
            if isinstance(each, nn.BatchNorm2d) and each.running_mean is not None:
                each.running_mean.abs_()
    images = torch.rand(3, channels, USUAL, USUAL, generator=torch.Generator().manual_seed(2))
    if name == "badnets_cnn":  # which pooling it is no file tells: the usual one is taken
        for block in (module[0], module[1]):
            block[2] = nn.MaxPool2d(2)
    with torch.no_grad():
        wanted = module(images)
        ways = [way for way in candidates(_read(module, tmp_path)) if way.channels == channels]
        found = [way.forward(images) for way in ways if way.side == USUAL]
    assert min(float((each - wanted).abs().max()) for each in found) < 1e-3 * float(wanted.abs().max())


@pytest.mark.parametrize("name", ["tutorial_cnn", "small_vgg", "small_vgg_bn", "keras_cnn", "keras_cnn_bn"])
def test_the_first_way_is_the_right_one_at_a_usual_side(name: str, tmp_path: Path) -> None:
    module = build(name, Shape(3, USUAL, 7), seed=1)
    first = next(candidates(_read(module, tmp_path)))
    assert (first.side, first.channels) == (USUAL, 3)


def test_a_grey_network_is_run_at_the_side_of_handwritten_digits(tmp_path: Path) -> None:
    first = next(candidates(_read(build("badnets_cnn", Shape(1, 28, 10), seed=1), tmp_path)))
    assert (first.side, first.channels) == (28, 1)


def test_products_and_maps_are_counted(tmp_path: Path) -> None:
    first = next(candidates(_read(build("tutorial_cnn", Shape(3, USUAL, 10), seed=1), tmp_path)))
    assert first.products == 28**2 * 6 * 75 + 10**2 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10
    assert first.maps == 32**2 * 3 + 28**2 * 6 + 10**2 * 16 + 120 + 84 + 10


@pytest.mark.parametrize("name", ["nin", "shufflenet_v2_x1_0"])
def test_what_no_code_is_for_has_no_way(name: str, tmp_path: Path) -> None:
    assert network_named(name)
    assert not list(candidates(_read(build(name, Shape(3, USUAL, 7), seed=1), tmp_path)))


@pytest.mark.parametrize("habit", HABITS, ids=str)
def test_norms_tell_how_a_chain_is_run(habit: Habit, tmp_path: Path) -> None:
    activation = {"relu": nn.ReLU, "elu": nn.ELU}[habit.activation]
    torch.manual_seed(5)

    def block(before: int, after: int) -> list[nn.Module]:
        steps = [nn.BatchNorm2d(after, momentum=None), activation()]
        return [nn.Conv2d(before, after, 3, padding=1), *(reversed(steps) if habit.before_norm else steps)]

    def pool() -> nn.Module:
        return nn.AvgPool2d(2) if habit.mean else nn.MaxPool2d(2)

    module = nn.Sequential(
        *block(3, 16), pool(), *block(16, 32), pool(), *block(32, 32), pool(), nn.Flatten(), nn.Linear(512, 7)
    )
    shown = torch.from_numpy(images(24, 3, USUAL))
    with torch.no_grad():
        module(shown)
    ways = list(islice(candidates(_read(module.eval(), tmp_path)), len(HABITS)))
    unlike = [way.unlike(torch.from_numpy(images(2, 3, USUAL))) for way in ways]
    chosen = min(range(len(HABITS)), key=unlike.__getitem__)
    assert HABITS[chosen] == habit
    with torch.no_grad():
        assert ways[chosen].forward(shown) == pytest.approx(module(shown), abs=1e-4)
