"""The same network in every layout is the same network: bit-equal tensors, equal digests, equal features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from networks import randomise_norms
from weightfeat import checkpoint, digest, features, network
from weightfeat.digest.types import Digest
from weightfeat.execution.vision import build_network

pytestmark = pytest.mark.e2e


def _layouts(module: nn.Module, folder: Path) -> dict[str, Path]:
    paths = {
        name: folder / f"{name}.pt"
        for name in ("module", "protocol4", "legacy", "state_dict", "nested", "parallel", "script", "tensors")
    }
    torch.save(module, paths["module"])
    torch.save(module, paths["protocol4"], pickle_protocol=4)
    torch.save(module, paths["legacy"], _use_new_zipfile_serialization=False)
    torch.save(module.state_dict(), paths["state_dict"])
    torch.save({"epoch": 3, "optimizer": {}, "model": module.state_dict()}, paths["nested"])
    torch.save(nn.DataParallel(module), paths["parallel"])
    torch.jit.script(module).save(str(paths["script"]))
    save_file({name: tensor.contiguous() for name, tensor in module.state_dict().items()}, paths["tensors"])
    return paths


@pytest.mark.filterwarnings("ignore:`torch.jit")  # deprecated, and still what a downloaded file may be
@pytest.mark.parametrize("architecture", ["shufflenet_v2_x1_0", "squeezenet1_1"])
def test_every_layout_gives_the_same_features(architecture: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = randomise_norms(build_network(architecture, 7))
    expected = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    digests: dict[str, Digest] = {}
    for layout, path in _layouts(module, tmp_path).items():
        loaded = checkpoint.read(path)
        assert {tensor.name for tensor in loaded.tensors} == set(expected), layout
        for tensor in loaded.tensors:
            assert np.array_equal(tensor.data, expected[tensor.name]), (layout, tensor.name)
        digests[layout] = digest.compute(network.build(loaded), key="0" * 64)
    first = digests.pop("module")
    assert (first.architecture, first.num_classes) == (architecture, 7)
    for layout, other in digests.items():
        assert other.to_bytes() == first.to_bytes(), layout
        assert features.row(other) == pytest.approx(features.row(first), abs=0, nan_ok=True), layout
