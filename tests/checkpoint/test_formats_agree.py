"""The same network in every format is the same network: names, order, values, features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from format_files import CLASSES, EXACT, GRAPHS, arrays, network, onnx_writer, torch_zip
from networks import randomise_norms
from weightfeat import digest, features
from weightfeat.checkpoint import read
from weightfeat.digest.types import Digest
from weightfeat.execution.vision import build_network
from weightfeat.network import build
from weightfeat.network.types import Network

COUNTER = "training_length.log_batches"


def digested(net: Network) -> Digest:
    return digest.compute(net, key="0" * 64)


@pytest.mark.parametrize("layout", EXACT)
def test_tensors_are_those_of_the_state_dict(tmp_path: Path, layout: str) -> None:
    net = network(affine=False)
    expected = arrays(net)
    name, write = EXACT[layout]
    found = read(write(net, tmp_path / "model.bin.npz" if "npz" in layout else tmp_path / "model"))
    assert found.format == name
    assert found.ordered
    assert {finding.kind for finding in found.findings} <= {"note"}
    assert [tensor.name for tensor in found.tensors] == list(expected)
    for tensor in found.tensors:
        assert tensor.dtype == expected[tensor.name].dtype.name
        assert not tensor.data.flags.writeable
        np.testing.assert_array_equal(tensor.data, expected[tensor.name])


@pytest.mark.parametrize("layout", [*EXACT, *GRAPHS])
def test_network_and_features_are_those_of_the_torch_file(tmp_path: Path, layout: str) -> None:
    net = network()
    plain = build(read(torch_zip(net, tmp_path / "plain.pt")))
    _, write = (EXACT | GRAPHS)[layout]
    other = build(read(write(net, tmp_path / ("model.npz" if "npz" in layout else "model"))))
    assert (other.num_classes, other.head, other.fingerprint) == (CLASSES, plain.head, plain.fingerprint)
    assert [layer.name for layer in other.layers] == [layer.name for layer in plain.layers]
    for layer, wanted in zip(other.layers, plain.layers, strict=True):
        np.testing.assert_array_equal(layer.weight, wanted.weight)
        assert (layer.bias is None) == (wanted.bias is None)
        assert (layer.norm_after is None) == (wanted.norm_after is None)
    expected, row = features.row(digested(plain)), features.row(digested(other))
    if layout in GRAPHS:
        assert np.isnan(row[COUNTER])
        del row[COUNTER], expected[COUNTER]
    assert row == pytest.approx(expected, abs=0, nan_ok=True)


def test_graph_without_a_name_gives_the_same_features(tmp_path: Path) -> None:
    net = network()
    named = build(read(onnx_writer()(net, tmp_path / "named.onnx")))
    nameless = build(read(onnx_writer(named=False)(net, tmp_path / "nameless.onnx")))
    assert features.row(digested(nameless)) == pytest.approx(
        features.row(digested(named)), abs=0, nan_ok=True
    )


@pytest.mark.e2e
@pytest.mark.parametrize("layout", ["torch.onnx", "torch.export", "npz"])
def test_known_architecture_is_recognised_in_every_format(tmp_path: Path, layout: str) -> None:
    torch.manual_seed(0)
    net = randomise_norms(build_network("shufflenet_v2_x1_0", 7)).eval()
    plain = build(read(torch_zip(net, tmp_path / "plain.pt")))
    name, write = (EXACT | GRAPHS)[layout]
    found = read(write(net, tmp_path / "model.npz"))
    other = build(found)
    assert found.format == name
    assert (other.architecture, other.num_classes) == ("shufflenet_v2_x1_0", 7)
    expected, row = features.row(digested(plain)), features.row(digested(other))
    if layout in GRAPHS:
        del row[COUNTER], expected[COUNTER]
    assert row == pytest.approx(expected, abs=0, nan_ok=True)
