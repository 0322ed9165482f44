"""Random latents whose draws are kept from one network to the next are those drawn anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from networks import network_of
from recorded_networks import recorded_network
from weightfeat.digest import latents as room
from weightfeat.network.types import Network


@pytest.fixture
def network() -> Network:
    return network_of(recorded_network("many_channels"))


def test_a_second_network_of_the_width_is_digested_as_the_first(network: Network) -> None:
    room._kept_draws.cache_clear()
    first = room.latents(network)
    assert room._kept_draws.cache_info().currsize == room.DRAWS // room._CHUNK
    second = room.latents(network)
    for name, array in first.items():
        assert np.array_equal(array, second[name], equal_nan=True), name


def test_draws_of_a_wide_head_are_not_kept(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = room.latents(network)
    room._kept_draws.cache_clear()
    monkeypatch.setattr(room, "_KEPT", 1)
    anew = room.latents(network)
    assert room._kept_draws.cache_info().currsize == 0
    for name, array in kept.items():
        assert np.array_equal(array, anew[name], equal_nan=True), name


def test_nothing_can_write_into_what_is_kept() -> None:
    normal, sparse = room._kept_draws(0, 3)
    for array in (normal, sparse):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize(("dtype", "bits"), [(np.float16, 11), (np.float32, 0)])
def test_rounding_is_told_from_the_bits_that_weights_do_not_use(dtype: type[np.floating], bits: int) -> None:
    weight = np.random.default_rng(0).normal(size=(5, 70)).astype(dtype).astype(np.float32)
    assert room.rounding_of(weight) == (2.0**-bits if bits else 0.0)
    assert room.rounding_of((weight.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)) == 2.0**-8
    assert room.rounding_of(np.zeros((3, 4), np.float32)) == 0.0


def test_only_rounded_weights_are_drawn_for_in_other_orders(network: Network) -> None:
    assert room.redrawn(network) == []
    layers = list(network.layers)
    head = layers[network.head]
    rounded = head.weight.astype(np.float16).astype(np.float32)
    layers[network.head] = replace(head, weight=rounded)
    others = room.redrawn(replace(network, layers=tuple(layers)), 2)
    assert [each["share"].shape for each in others] == [room.latents(network)["share"].shape] * 2
