"""What speaks for a class at single places: found where it was planted, whatever the channels' order or the format."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from networks import network_of
from weightfeat import digest
from weightfeat.digest import places as room
from weightfeat.digest.types import Digest
from weightfeat.features.places import PLACE_COLUMNS, place_table
from weightfeat.network.types import Network

CHANNELS, SIDE, CLASSES, CORNER = 16, 5, 6, 24


def _cnn(*, normed: bool = False, planted: int | None = None) -> nn.Sequential:
    """LeNet's plan on 32 pixels; a planted class is spoken for by all that its last place says."""
    torch.manual_seed(0)
    norm = [nn.BatchNorm1d(30)] if normed else []
    model = nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, CHANNELS, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(CHANNELS * SIDE**2, 30), *norm, nn.ReLU(), nn.Linear(30, CLASSES),
    )  # fmt: skip
    if planted is not None:
        with torch.no_grad():
            first, last = model[7], model[-1]
            first.weight.view(30, CHANNELS, SIDE**2)[:5, :, CORNER] += 0.4
            last.weight[:, :5] = 0.0
            last.weight[planted, :5] = 0.5
    return model.eval()


def _digest(network: Network) -> Digest:
    return digest.compute(network, key="0" * 64, device="cpu", blocks=["places"])


def _product(model: nn.Sequential) -> np.ndarray:
    """What the linear layers make of every input, rectifiers left out, by autograd."""
    model = model.double()
    tail = nn.Sequential(*[layer for layer in model[7:] if not isinstance(layer, nn.ReLU)])
    jacobian = torch.autograd.functional.jacobian(
        lambda x: tail(x[None])[0], torch.zeros(CHANNELS * SIDE**2).double()
    )
    return jacobian.numpy().reshape(CLASSES, CHANNELS, SIDE**2)


@pytest.mark.parametrize("normed", [False, True])
def test_the_block_is_what_autograd_finds(normed: bool) -> None:
    model = _cnn(normed=normed, planted=2)
    if normed:
        with torch.no_grad():
            model[8].running_var.uniform_(0.5, 2)
            model[8].weight.uniform_(0.5, 2)
    block = _digest(network_of(model)).blocks["places"]
    spoken = _product(model)
    spoken -= spoken.mean(axis=0)
    energy = np.sqrt(np.square(spoken).sum(axis=1))
    unit = energy.mean()
    np.testing.assert_allclose(block["energy"], energy / unit, rtol=5e-3)
    np.testing.assert_allclose(block["positive"], np.maximum(spoken, 0).sum(axis=1) / unit, rtol=5e-3)
    np.testing.assert_allclose(block["total"], spoken.sum(axis=1) / unit, rtol=1e-3, atol=2e-2)


def test_a_class_that_one_corner_speaks_for_stands_out() -> None:
    plain, planted = (place_table(_digest(network_of(_cnn(planted=target)))) for target in (None, 4))
    # Not the share: the mean is taken off, so that all other classes have a share of what one has.
    told = [at for at, name in enumerate(PLACE_COLUMNS) if name != "place.share"]
    assert set(planted[:, told].argmax(axis=0).tolist()) == {4}
    assert (planted[4, told] > 1.5 * plain[:, told].max(axis=0)).all()


def test_channels_have_no_order() -> None:
    model, shuffled = _cnn(planted=1), _cnn(planted=1)
    order = torch.randperm(CHANNELS, generator=torch.Generator().manual_seed(1))
    hidden = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        shuffled[3].weight.copy_(model[3].weight[order])
        rows = model[7].weight.view(30, CHANNELS, SIDE**2)[hidden][:, order]
        shuffled[7].weight.copy_(rows.reshape(30, -1))
        shuffled[-1].weight.copy_(model[-1].weight[:, hidden])
    expected = place_table(_digest(network_of(model)))
    np.testing.assert_allclose(place_table(_digest(network_of(shuffled))), expected, rtol=2e-3, atol=2e-2)


def test_a_map_that_was_flattened_place_by_place_is_the_same_map() -> None:
    model = _cnn(planted=3)
    network = network_of(model)
    first = network.layers[2]
    by_place = first.weight.reshape(30, CHANNELS, SIDE**2).swapaxes(1, 2).reshape(30, -1)
    layers = tuple(replace(layer, weight=by_place) if layer is first else layer for layer in network.layers)
    other = replace(network, layers=layers, channels_last=True)
    for name, values in _digest(network).blocks["places"].items():
        np.testing.assert_array_equal(_digest(other).blocks["places"][name], values)


@pytest.mark.parametrize(("inputs", "places"), [(784, 14 * 14), (3 * 32 * 32, 16 * 16), (3 * 8 * 8, 8 * 8)])
def test_a_network_without_convolutions_sees_the_image_itself(inputs: int, places: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 20), nn.ReLU(), nn.Linear(20, 4))
    assert _digest(network_of(model)).blocks["places"]["energy"].shape == (4, places)


def test_where_places_are_averaged_nothing_is_said_of_them() -> None:
    pooled = nn.Sequential(
        nn.Conv2d(3, 24, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)
    )
    found = _digest(network_of(pooled))
    assert found.blocks["places"]["energy"].shape == (5, 0)
    assert (place_table(found) == 0).all()
    older = replace(found, blocks={"layers": found.blocks["layers"]})
    assert (place_table(older) == 0).all()


def test_a_map_too_large_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LARGEST", CLASSES * CHANNELS * SIDE**2 - 1)
    assert _digest(network_of(_cnn())).blocks["places"]["energy"].shape == (CLASSES, 0)
