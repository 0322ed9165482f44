"""Digests outlive the models they came from: new code must give the numbers that are already committed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from networks import network_of
from recorded_networks import FOLDER, KEY, NETWORKS, digest_of, recorded_network
from weightfeat.digest import Digest, compute, order
from weightfeat.digest.distribution import QUANTILES
from weightfeat.digest.linalg import DOUBLE_SIDE
from weightfeat.digest.spectrum import LEADING
from weightfeat.digest.spectrum import QUANTILES as SPECTRUM

RELATIVE = 1e-5
HALF = 1e-3  # one step of a half-precision number
# What is small beside its column's largest entry holds rounding of that entry's size.
DOUBLE, SINGLE = 1e-8, 1e-6
FLOAT32_SUMS = {("distribution", "moments"), ("channels", "grid"), ("channels", "outliers")}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def pair(request: pytest.FixtureRequest) -> tuple[Digest, Digest]:
    """What was recorded, and what the code gives now."""
    return Digest.load(FOLDER / f"{request.param}.npz"), digest_of(request.param)


def test_recorded_digests_stay_valid(pair: tuple[Digest, Digest]) -> None:
    recorded, now = pair
    assert recorded.versions == now.versions == dict.fromkeys(now.versions, 1)
    assert (recorded.architecture, recorded.family, recorded.fingerprint, recorded.num_classes) == (
        *(now.architecture, now.family, now.fingerprint, now.num_classes),
    )
    assert {block: sorted(arrays) for block, arrays in recorded.blocks.items()} == {
        block: sorted(arrays) for block, arrays in now.blocks.items()
    }


def test_no_number_moves(pair: tuple[Digest, Digest]) -> None:
    recorded, now = pair
    for block, arrays in recorded.blocks.items():
        for name, old in arrays.items():
            new = now.blocks[block][name]
            assert new.dtype == old.dtype
            assert new.shape == old.shape
            if old.dtype.kind != "f":
                assert np.array_equal(old, new), f"{block}/{name}"
                continue
            relative = HALF if old.dtype == np.float16 else RELATIVE
            allowed = relative * np.abs(old) + _rounding(recorded, block, name)
            assert np.array_equal(np.isnan(old), np.isnan(new)), f"{block}/{name}"
            assert not (np.abs(new - old) > allowed).any(), f"{block}/{name}"


def _rounding(recorded: Digest, block: str, name: str) -> Any:
    """What sums and eigensolvers may differ by, in the unit of each entry."""
    array, spectrum = recorded.blocks[block][name], recorded.blocks["spectrum"]
    in_single = spectrum["sides"].min(1).max() > DOUBLE_SIDE
    if block == "spectrum" and name == "grid":
        # A Gram matrix's error in a singular value s is eps * s_max**2 / (2 s).
        eps = np.finfo(np.float32 if in_single else np.float64).eps
        return 4 * eps * spectrum["leading"][:, :1] ** 2 / (2 * np.maximum(array, 1e-3))
    largest = np.nanmax(np.abs(array), axis=0, initial=0.0)
    if block == "alignment":
        largest = np.maximum(largest, 1.0)  # squared cosines
    if block == "distribution" and name == "moments":
        largest[3:5] = np.maximum(largest[3:5], 1.0)  # skewness and kurtosis: in standard deviations
    return (SINGLE if in_single or (block, name) in FLOAT32_SUMS else DOUBLE) * largest


def test_large_layers_numbers_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways only large layers go, against a decomposition and a sort of the matrix itself."""
    monkeypatch.setattr("weightfeat.digest.linalg.DOUBLE_SIDE", 256)
    monkeypatch.setattr("weightfeat.digest.layers.DOUBLE_SIDE", 256)
    monkeypatch.setattr("weightfeat.digest.distribution.SORTED", 1000)
    network = network_of(recorded_network("many_channels"))
    blocks = compute(network, key=KEY, device="cpu").blocks
    matrices = [layer.weight.reshape(len(layer.weight), -1) for layer in network.layers]
    large = [index for index, matrix in enumerate(matrices) if min(matrix.shape) > 256]
    assert len(large) == 1
    for index in large:
        exact = np.linalg.svd(matrices[index].astype(np.float64), compute_uv=False)
        spectrum = {name: rows[index] for name, rows in blocks["spectrum"].items()}
        np.testing.assert_allclose(spectrum["leading"], exact[:LEADING], rtol=RELATIVE)
        grid = np.quantile(exact, SPECTRUM)
        np.testing.assert_allclose(spectrum["grid"], grid, rtol=RELATIVE, atol=SINGLE * exact[0])
        powers = [exact.sum(), (exact**2).sum(), (exact**4).sum()]
        np.testing.assert_allclose(spectrum["powers"][:3], powers, rtol=RELATIVE)
    for index, matrix in enumerate(matrices):
        ordered = np.sort(matrix, axis=None)
        ranks = np.rint(QUANTILES * (len(ordered) - 1)).astype(int)
        assert np.array_equal(blocks["distribution"]["grid"][index], ordered[ranks])


@pytest.mark.parametrize("sample", ["normal", "ties", "one value", "both zeros", "tiny", "powers"])
def test_order_statistics_are_the_sorted_values(sample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_CHUNK", 1000)
    generator = np.random.default_rng(0)
    values = {
        "normal": generator.standard_normal(12_345),
        "ties": generator.integers(-3, 4, 12_345) / 8,
        "one value": np.full(12_345, -0.1),
        "both zeros": np.where(generator.random(12_345) < 0.5, -0.0, 0.0),
        "tiny": generator.standard_normal(12_345) * 1e-42,
        "powers": generator.choice([-1.0, 1.0], 12_345) * 2.0 ** generator.integers(-140, 127, 12_345),
    }[sample].astype(np.float32)
    ordered, ranks = np.sort(values), np.arange(len(values))
    assert np.array_equal(order.order_statistics(values, ranks), ordered)
    few = np.array([0, 1, 700, 700, 12_344])
    assert np.array_equal(order.order_statistics(values, few), ordered[few])
    bounds = np.array([-1.0, -0.1, 0.0, 0.125, 2.0], np.float32)
    assert np.array_equal(order.count_below(values, bounds), np.searchsorted(ordered, bounds))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_thread_count_changes_no_byte(name: str) -> None:
    network = network_of(recorded_network(name))
    one, three = (compute(network, key=KEY, device="cpu", threads=threads) for threads in (1, 3))
    assert one.to_bytes() == three.to_bytes()


def test_digests_under_way_together_change_no_byte() -> None:
    """BLAS's own threads change its sums; they come back only once the last digest is done."""
    network = network_of(recorded_network("many_channels"))
    alone = compute(network, key=KEY, device="cpu").to_bytes()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: compute(network, key=KEY, device="cpu").to_bytes(), range(8)))
    assert set(together) == {alone}
