"""numpy's arrays in the place of tensors, and what else lies in checkpoints beside the weights."""

from __future__ import annotations

import datetime
import enum
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from weightfeat.checkpoint import read
from weightfeat.errors import HostileFile, WeightfeatError


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3)).state_dict()


def assert_reads(path: Path, expected: dict[str, Any]) -> None:
    found = {tensor.name: tensor for tensor in read(path).tensors}
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == np.asarray(value).dtype.name
        np.testing.assert_array_equal(found[name].data, np.asarray(value))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_arrays_are_read_as_what_they_hold(tmp_path: Path, protocol: int) -> None:
    arrays = {name: value.numpy() for name, value in state().items()}
    arrays |= {
        "order.weight": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        "swapped.weight": np.arange(6, dtype=">f4").reshape(2, 3),
        "half.weight": np.ones((2, 2), np.float16),
        "view.weight": np.arange(24.0).reshape(2, 3, 4)[:, ::2].transpose(2, 0, 1),
        "empty": np.ones((0, 3)),
        "number": np.array(3),
    }
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "author": "x"}, protocol=protocol))
    assert_reads(path, arrays)


@pytest.mark.parametrize("legacy", [False, True])
def test_arrays_that_torch_saved_are_read_beside_tensors(tmp_path: Path, legacy: bool) -> None:
    mixed = {**state(), "3.weight": state()["3.weight"].numpy()}
    path = tmp_path / "model.pt"
    torch.save(mixed, path, _use_new_zipfile_serialization=not legacy)
    assert_reads(path, mixed)


class OfADevice:
    """Pickles as torch pickles tensors of devices that have no storage."""

    def __init__(self, name: str, tensor: torch.Tensor, kind: torch.dtype | None = None) -> None:
        self.name, self.tensor, self.kind = name, tensor, kind or tensor.dtype

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        data: Any = self.tensor if self.name.endswith("from_cpu_tensor") else self.tensor.numpy()
        return getattr(torch._utils, self.name), (data, self.kind, "xla:0", False)


DEVICES = ("_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor")


@pytest.mark.parametrize("name", DEVICES)
def test_tensors_of_another_device_are_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.pt"
    torch.save({key: OfADevice(name, value) for key, value in state().items()}, path)
    assert_reads(path, dict(state()))


def test_bfloat16_of_a_device_is_saved_in_more_bits_and_read_in_them(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    value = torch.randn(3, 4).bfloat16().float()
    torch.save({"fc.weight": OfADevice(DEVICES[0], value, torch.bfloat16)}, path)
    assert_reads(path, {"fc.weight": value})
    torch.save({"fc.weight": OfADevice(DEVICES[0], value, torch.int8)}, path)
    with pytest.raises(WeightfeatError, match="is a int8 made of float32"):
        read(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda raw: raw.replace(b"K\x03K\x04\x86", b"K\x03K\x05\x86"), "does not fit its 48 bytes"),
        (lambda raw: raw.replace(b"X\x02\x00\x00\x00f4", b"X\x02\x00\x00\x00c8"), "its type is"),
        (lambda raw: raw.replace(b"X\x02\x00\x00\x00f4", b"X\x02\x00\x00\x00O8"), "its type is"),
        (lambda raw: raw.replace(b"cnumpy\nndarray", b"cnumpy\nmatrix"), "does not write so"),
    ],
)
def test_arrays_that_numpy_does_not_write_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], why: str
) -> None:
    raw = pickle.dumps({"fc.weight": np.ones((3, 4), np.float32)}, protocol=2)
    assert change(raw) != raw
    path = tmp_path / "model.pkl"
    path.write_bytes(change(raw))
    with pytest.raises(WeightfeatError, match=why):
        read(path)


class Kind(enum.Enum):
    ONE = 1


BESIDE: dict[str, Any] = {
    "a date": datetime.datetime(2024, 5, 1, 12),
    "a size": torch.Size([3, 4]),
    "a number of numpy's": np.float64(0.93),
    "a device": torch.device("cpu"),
    "numbers of numpy's": {"history": np.arange(10.0), "state": np.random.default_rng(0).bit_generator.state},
    "keyed by a float": {0.5: torch.tensor(0.9), 0.75: torch.tensor(0.4)},
    "keyed by a date": {datetime.date(2024, 5, 1): torch.tensor(0.9)},
    "keyed by an enum": {Kind.ONE: torch.tensor(0.9)},
    "keyed by a device": {torch.device("cpu"): torch.tensor(0.9)},
    "keyed by a size": {torch.Size([2]): torch.tensor(0.9)},
    "keyed by a pair": {(0, 1): torch.tensor(0.9)},
}


@pytest.mark.parametrize("what", BESIDE)
def test_what_lies_beside_the_weights_changes_nothing(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": state(), "beside": BESIDE[what]}, path)
    assert_reads(path, dict(state()))


@pytest.mark.parametrize("key", [0.5, datetime.date(2024, 5, 1)])
def test_keys_of_the_network_itself_are_plain(tmp_path: Path, key: object) -> None:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {**state(), key: torch.ones(3, 4)}}, path)
    with pytest.raises(HostileFile, match="no plain one"):
        read(path)
