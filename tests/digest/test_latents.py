"""Random latents whose draws are kept from one network to the next are those drawn anew."""

from __future__ import annotations

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
