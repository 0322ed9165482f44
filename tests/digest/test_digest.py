"""The digest: errors of its numbers, what they must not depend on, and its file."""

from __future__ import annotations

import copy
import io
import json
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from networks import network_of, permute_cnn, permute_resnet18, plain_cnn, randomise_norms
from weightfeat import digest as room
from weightfeat import features
from weightfeat.digest import linalg
from weightfeat.digest.distribution import QUANTILES, _summary
from weightfeat.digest.head import _largest_of_others
from weightfeat.digest.latent_law import LatentLaw
from weightfeat.digest.place import Place, choose_place, host
from weightfeat.errors import BadRound, UnsupportedLayout
from weightfeat.execution.vision import build_network

KEY = "a" * 64


PLACES = pytest.mark.parametrize(
    "place", [choose_place("cpu"), choose_place("torch")], ids=["numpy", "torch"]
)


def _spiked(rows: int, columns: int, seed: int = 0) -> NDArray[np.float32]:
    """A random matrix with a few directions of a trained layer's strength."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((rows, columns)) / columns**0.5
    left, right = generator.standard_normal((rows, 3)), generator.standard_normal((3, columns))
    spikes = (left * [3.0, 2.0, 1.0]) @ right / (rows * columns) ** 0.5
    return np.asarray(noise + spikes, np.float32)


def _assert_close(first: room.Digest, second: room.Digest, tolerance: float) -> None:
    """Every array equal to `tolerance` of its own scale; half-precision arrays to half precision."""
    for block, arrays in first.blocks.items():
        for name, array in arrays.items():
            other = second.blocks[block][name]
            if array.dtype.kind != "f":
                assert np.array_equal(array, other), f"{block}/{name}"
                continue
            scale = np.nanmax(np.abs(array), initial=1e-12) if array.size else 1.0
            limit = max(tolerance, 1e-3 if array.dtype == np.float16 else 0.0) * float(scale)
            np.testing.assert_allclose(other, array, rtol=0, atol=limit, err_msg=f"{block}/{name}")


@PLACES
@pytest.mark.parametrize(("rows", "columns"), [(40, 300), (300, 40), (128, 128), (700, 600), (5, 9)])
@pytest.mark.parametrize("double_side", [2048, 4])
def test_singular_values_against_float64_svd(
    rows: int, columns: int, double_side: int, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linalg, "DOUBLE_SIDE", double_side)
    matrix = _spiked(rows, columns)
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    ours = host(linalg.singular_values(linalg.gram(place.upload(matrix)))).astype(np.float64)
    np.testing.assert_allclose(ours[:5], exact[:5], rtol=1e-5)
    points = np.linspace(0, 1, 33)
    error = np.abs(np.quantile(ours, points) - np.quantile(exact, points)).max() / exact[0]
    assert error < (1e-6 if double_side > 4 else 1e-3)


def test_the_largest_weight_of_the_other_classes() -> None:
    head = np.random.default_rng(0).integers(-3, 4, (6, 40)).astype(np.float64)  # with ties
    expected = [np.delete(head, c, axis=0).max(axis=0) for c in range(6)]
    np.testing.assert_array_equal(_largest_of_others(head), expected)
    assert np.isnan(_largest_of_others(head[:1])).all()


def test_many_classes_take_no_memory_for_every_pair_of_them_in_every_channel() -> None:
    classes, channels = 500, 400
    body = nn.Conv2d(3, channels, 3), nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    network = network_of(nn.Sequential(*body, nn.Flatten(), nn.Linear(channels, classes)))
    tracemalloc.start()
    room.compute(network, key=KEY, device="cpu")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < classes * classes * channels * 8 / 4


@pytest.mark.parametrize("large", [False, True])
def test_a_block_by_itself_is_what_it_is_among_all(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:  # the way of large layers
        monkeypatch.setattr("weightfeat.digest.layers.DOUBLE_SIDE", 8)
    network = network_of(plain_cnn())
    whole = room.compute(network, key=KEY, device="cpu")
    for name in room.VERSIONS:
        alone = room.compute(network, key=KEY, device="cpu", blocks=[name])
        assert alone.versions == {part: room.VERSIONS[part] for part in ("layers", name)}
        assert alone.blocks.keys() == alone.versions.keys()
        expected = dict(whole.blocks[name])
        if name == "head":
            assert alone.blocks[name]["left"].shape == (len(expected["left"]), 0)
            expected["left"] = alone.blocks[name]["left"]
        assert alone.blocks[name].keys() == expected.keys()
        for array in expected:
            np.testing.assert_array_equal(
                alone.blocks[name][array], expected[array], err_msg=f"{name}/{array}"
            )


def test_what_is_not_wanted_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    for work in ("spectrum", "distribution"):
        monkeypatch.setattr(f"weightfeat.digest.layers.{work}", None)
    assert "head" in room.compute(network_of(plain_cnn()), key=KEY, device="cpu", blocks=["head"]).blocks


def test_an_unknown_block_is_named() -> None:
    with pytest.raises(ValueError, match="unknown block 'nosuch'"):
        room.compute(network_of(plain_cnn()), key=KEY, blocks=["nosuch"])


@PLACES
def test_rank_deficient_and_zero_matrices_give_finite_values(place: Place) -> None:
    low_rank = place.upload(_spiked(30, 2) @ _spiked(2, 50))
    values = host(linalg.singular_values(linalg.gram(low_rank)))
    assert values[2:].max() < 1e-6 * values[0]
    zeros = place.upload(np.zeros((8, 20), np.float32))
    directions, strength = map(host, linalg.leading_directions(linalg.gram(zeros), 4))
    assert np.isfinite(directions).all()
    assert np.abs(strength).max() == 0


@PLACES
@pytest.mark.parametrize("shape", [(50, 16, 9), (50, 3, 49), (20, 4, 1), (20, 1, 9)])
def test_channel_norms_against_svd(shape: tuple[int, ...], place: Place) -> None:
    filters = np.random.default_rng(1).standard_normal(shape, np.float32)
    exact = np.linalg.svd(filters.astype(np.float64), compute_uv=False)[:, 0]
    np.testing.assert_allclose(host(linalg.spectral_norms(place.upload(filters))), exact, rtol=1e-5)


@PLACES
def test_leading_directions_are_the_eigenvectors_where_they_stand_apart(place: Place) -> None:
    matrix = _spiked(60, 400).astype(np.float64)
    gram = linalg.gram(place.upload(matrix))
    directions, strength = map(host, linalg.leading_directions(gram, 8))
    _, vectors = np.linalg.eigh(host(gram))
    cosines = np.abs((directions[:, :2] * vectors[:, ::-1][:, :2]).sum(0))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-6)
    np.testing.assert_allclose(strength[:2], np.linalg.svd(matrix, compute_uv=False)[:2], rtol=1e-8)


@PLACES
def test_distribution_by_hand(place: Place) -> None:
    summary = _summary(place.upload(np.array([4.0, -2.0, 1.0, 1.0], np.float32)), place)
    count, mean, std, skewness, kurtosis, magnitude, total, _, _ = summary.moments
    values = np.array([-2.0, 1.0, 1.0, 4.0])
    z = (values - 1.0) / values.std()
    expected = (4, 1.0, values.std(), (z**3).mean(), (z**4).mean() - 3, 2.0, 4.0)
    assert np.allclose((count, mean, std, skewness, kurtosis, magnitude, total), expected)
    assert summary.grid[0] == -2
    assert summary.grid[-1] == 4
    assert summary.grid[np.flatnonzero(QUANTILES == 0.5)[0]] == 1


def test_latent_law_means_match_simulation() -> None:
    centre, spread = np.array([-1.0, 0.0, 0.7]), np.array([0.5, 1.0, 2.0])
    law = LatentLaw(centre, spread, np.ones(3, bool))
    draws = np.maximum(centre + spread * np.random.default_rng(0).standard_normal((400_000, 3)), 0)
    assert np.allclose(law.mean, draws.mean(axis=0), atol=0.01)
    assert np.allclose(law.active, (draws > 0).mean(axis=0), atol=0.01)


def test_hidden_channels_may_move() -> None:
    module = plain_cnn()
    before = room.compute(network_of(module), key=KEY)
    after = room.compute(network_of(permute_cnn(copy.deepcopy(module))), key=KEY)
    _assert_features_equal(before, after)


@pytest.mark.e2e
def test_a_resnets_channels_may_move() -> None:
    torch.manual_seed(0)
    module = randomise_norms(build_network("resnet18", 9))
    moved = permute_resnet18(copy.deepcopy(module))
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(module(image), moved(image), atol=1e-3), (
            "the permutation must keep the function"
        )
    before, after = (room.compute(network_of(m), key=KEY) for m in (module, moved))
    assert before.architecture == after.architecture == "resnet18"
    _assert_features_equal(before, after)


def _assert_features_equal(first: room.Digest, second: room.Digest) -> None:
    rows = [features.row(digest) for digest in (first, second)]
    for name, value in rows[0].items():
        assert rows[1][name] == pytest.approx(value, rel=1e-4, abs=1e-4, nan_ok=True), name


def test_a_gpus_code_gives_the_same_digest_on_a_processor() -> None:
    torch.manual_seed(0)
    network = network_of(randomise_norms(build_network("shufflenet_v2_x1_0", 6)))
    host, torchs = (room.compute(network, key=KEY, device=device) for device in ("cpu", "torch"))
    _assert_close(host, torchs, 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_digest() -> None:
    torch.manual_seed(0)
    network = network_of(randomise_norms(build_network("resnet18", 9)))
    _assert_close(
        room.compute(network, key=KEY, device="cpu"), room.compute(network, key=KEY, device="cuda"), 1e-5
    )


def test_file_round_trip_is_exact_and_reproducible(tmp_path: Path) -> None:
    digest = room.compute(network_of(plain_cnn()), key=KEY, findings=("a note",))
    store = room.DigestStore(tmp_path / "store")
    store.put(digest)
    assert list(store.keys()) == [KEY]
    assert KEY in store
    read = store.get(KEY)
    assert read.to_bytes() == digest.to_bytes() == store.path(KEY).read_bytes()
    assert (read.architecture, read.num_classes, read.findings) == (digest.architecture, 7, ("a note",))
    for block, arrays in digest.blocks.items():
        for name, array in arrays.items():
            assert read.blocks[block][name].dtype == array.dtype
            assert np.array_equal(read.blocks[block][name], array, equal_nan=array.dtype.kind == "f")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_damaged_digest_is_named(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "digest.npz"
    room.compute(network_of(plain_cnn()), key=KEY).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(BadRound, match=r"digest\.npz.*expected a digest"):
        room.Digest.load(path)


def _entries(digest: room.Digest, **changed: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(digest.to_bytes())) as archive:
        return {name: archive.read(name) for name in archive.namelist()} | changed


def _rewritten(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def _npy(shape: tuple[int, ...], data: bytes) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": shape})
    return b"<i4".ljust(8) + header.getvalue() + data


@pytest.fixture(scope="module")
def small() -> room.Digest:
    return room.compute(network_of(plain_cnn()), key=KEY)


HEAD = {"format": 1, "key": KEY, "num_classes": 5, "versions": ["layers"], "findings": []}
FORGED = {
    "versions in a list": {
        "head.json": json.dumps(HEAD | dict.fromkeys(("architecture", "family", "fingerprint"), "")).encode()
    },
    "deep JSON": {"head.json": b"[" * 100_000},
    "80 GB by its header": {"norms/width": _npy((20_000_000_000,), b"")},
    "a layer too many": {"layers/depth": _npy((1000,), bytes(4000))},
    "no rows": {"spectrum/grid": _npy((), bytes(4))},
}


@pytest.mark.parametrize("forgery", FORGED)
def test_a_forged_digest_is_named(tmp_path: Path, small: room.Digest, forgery: str) -> None:
    path = _rewritten(tmp_path / "digest.npz", _entries(small, **FORGED[forgery]))
    with pytest.raises(BadRound, match=r"digest\.npz: unreadable digest"):
        room.Digest.load(path)


def test_a_digest_whose_stream_is_spoilt_is_named(tmp_path: Path, small: room.Digest) -> None:
    path = tmp_path / "digest.npz"
    data = bytearray(small.to_bytes())
    start = zipfile.ZipFile(io.BytesIO(data)).getinfo("head/gram").header_offset + 30 + len("head/gram")
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(BadRound, match="unreadable digest"):
        room.Digest.load(path)


def test_a_digest_without_a_block_of_its_versions_is_refused(tmp_path: Path, small: room.Digest) -> None:
    path = tmp_path / "digest.npz"
    replace(small, blocks={name: block for name, block in small.blocks.items() if name != "moments"}).save(
        path
    )
    with pytest.raises(BadRound, match="no block moments"):
        room.Digest.load(path)


def _says_it_is_small(data: bytes, name: str) -> bytes:
    """The archive with another unpacked size, 1, of an entry in its directory."""
    at = data.rindex(name.encode()) - 46 + 24
    return data[:at] + (1).to_bytes(4, "little") + data[at + 4 :]


@pytest.mark.parametrize("bomb", ["honest", "lying", "bz2"])
def test_a_digest_is_not_unpacked_beyond_its_bound(
    tmp_path: Path, small: room.Digest, bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = _entries(small)
    size = 64 << 20
    monkeypatch.setattr("weightfeat.digest.types.LARGEST", size // 2)
    compression = zipfile.ZIP_BZIP2 if bomb == "bz2" else zipfile.ZIP_DEFLATED
    path = _rewritten(tmp_path / "digest.npz", {**entries, "head/bomb": bytes(size)}, compression)
    if bomb != "honest":
        path.write_bytes(_says_it_is_small(path.read_bytes(), "head/bomb"))
    tracemalloc.start()
    with pytest.raises(BadRound, match="unreadable digest"):
        room.Digest.load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < size // 4


def test_a_store_gives_no_digest_of_another_file(tmp_path: Path, small: room.Digest) -> None:
    store = room.DigestStore(tmp_path)
    small.save(store.path("b" * 64))
    with pytest.raises(BadRound, match=f"b.npz: the digest of {KEY}"):
        store.get("b" * 64)


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "digest.npz"
    digest = room.compute(network_of(plain_cnn()), key=KEY)
    monkeypatch.setattr("weightfeat.digest.types.FORMAT", 99)
    digest.save(path)
    monkeypatch.undo()
    with pytest.raises(BadRound, match="digest format 99; expected format 1"):
        room.Digest.load(path)


def test_an_absent_device_is_named() -> None:
    with pytest.raises(UnsupportedLayout, match="nosuch: device not available"):
        choose_place("nosuch")
