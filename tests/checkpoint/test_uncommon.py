"""Tensors that are sparse, quantised or of eight bits are read as the values torch makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from weightfeat.checkpoint import read
from weightfeat.checkpoint.faults import Unreadable
from weightfeat.checkpoint.nodes import Global
from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.checkpoint.uncommon import Allowance, sparse

pytestmark = pytest.mark.filterwarnings("ignore:.*beta state.*", "ignore:.*deprecated.*")

COO = Global("torch", "sparse_coo")
FLOAT8 = ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"]
LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "coo": lambda t: t.to_sparse(),
    "coo, last dimensions dense": lambda t: t.to_sparse(1),
    "csr": lambda t: t.to_sparse_csr(),
    "csc": lambda t: t.to_sparse_csc(),
    "bsr": lambda t: t.to_sparse_bsr((2, 3)),
    "bsc": lambda t: t.to_sparse_bsc((2, 3)),
}


def written(folder: Path, tensor: torch.Tensor, **how: object) -> Checkpoint:
    """The tensor beside a plain one, through torch.save and our reader."""
    torch.save({"w": tensor, "plain": torch.ones(2)}, folder / "model.pt", **how)  # type: ignore[arg-type]
    return read(folder / "model.pt")


def first(found: Checkpoint) -> StoredTensor:
    return next(tensor for tensor in found.tensors if tensor.name == "w")


@pytest.mark.parametrize("dtype", FLOAT8)
def test_every_code_of_the_float8_types_is_torchs_value(tmp_path: Path, dtype: str) -> None:
    tensor = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype)).reshape(16, 16)
    save_file({"w": tensor}, tmp_path / "model.safetensors")
    for found in (written(tmp_path, tensor), read(tmp_path / "model.safetensors")):
        assert first(found).dtype == dtype
        np.testing.assert_array_equal(first(found).float32(), tensor.float().numpy())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_sparse_tensors_are_read_as_torch_makes_them_dense(tmp_path: Path, layout: str, zipped: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    dense = torch.randn(8, 9, generator=generator) * (torch.rand(8, 9, generator=generator) < 0.3)
    found = written(tmp_path, LAYOUTS[layout](dense), _use_new_zipfile_serialization=zipped)
    assert not found.findings
    np.testing.assert_array_equal(first(found).data, dense.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_sparse_kernel_of_four_dimensions_adds_up_what_lies_in_one_place(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    indices = torch.tensor([[0, 1, 1], [2, 0, 0], [0, 1, 1], [1, 1, 1]])
    values = torch.tensor([1.5, 2.0, 0.25], dtype=dtype)
    tensor = torch.sparse_coo_tensor(indices, values, (3, 4, 2, 2), check_invariants=True)
    found = written(tmp_path, tensor)
    np.testing.assert_array_equal(first(found).float32(), tensor.to_dense().float().numpy())


@pytest.mark.parametrize("kind", [torch.qint8, torch.quint8, torch.qint32])
def test_quantised_tensors_are_dequantised(tmp_path: Path, kind: torch.dtype) -> None:
    weight = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    whole = torch.quantize_per_tensor(weight, 0.03, 5, kind)
    np.testing.assert_allclose(first(written(tmp_path, whole)).data, whole.dequantize().numpy(), rtol=1e-6)
    scales, zeros = torch.rand(6) / 10 + 0.01, torch.randint(0, 9, (6,))
    channels = torch.quantize_per_channel(weight, scales, zeros, 0, kind)
    found = first(written(tmp_path, channels))
    assert found.dtype == "float32"
    np.testing.assert_allclose(found.data, channels.dequantize().numpy(), rtol=1e-6)


def test_a_few_bytes_do_not_become_a_huge_dense_tensor(tmp_path: Path) -> None:
    nowhere = torch.zeros(2, 1, dtype=torch.long)
    hollow = torch.sparse_coo_tensor(nowhere, torch.ones(1), (1 << 16, 1 << 14), check_invariants=True)
    found = written(tmp_path, hollow)
    assert [tensor.name for tensor in found.tensors] == ["plain"]
    assert "too large once dense" in found.findings[0].detail


@pytest.mark.parametrize(
    ("indices", "shape"),
    [([[0, 3]], (3,)), ([[0, -1]], (3,)), ([[0, 1], [0, 0]], (3,)), ([[0, 1]], (3, 2))],
)
def test_indices_that_do_not_fit_make_a_tensor_unreadable(
    indices: list[list[int]], shape: tuple[int, ...]
) -> None:
    parts: dict[object, np.ndarray] = {"i": np.array(indices), "v": np.ones(2, np.float32)}
    with pytest.raises(Unreadable):
        sparse((COO, ("i", "v", shape)), lambda node: parts[node], Allowance())
