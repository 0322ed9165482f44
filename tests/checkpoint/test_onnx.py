"""ONNX graphs: what computes is what is read; files built to mislead or exhaust are refused."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from format_files import arrays, model, network, raw
from weightfeat.checkpoint import Checkpoint, read
from weightfeat.errors import HostileFile, UnreadableFile, UnsupportedLayout

Edit = Callable[[onnx.ModelProto], Any]


@pytest.fixture(scope="module")
def sound() -> onnx.ModelProto:
    return model(arrays(network()))


@pytest.fixture
def proto(sound: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(sound)
    return copy


def opened(proto: onnx.ModelProto, folder: Path) -> Checkpoint:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return read(path)


def tensors(found: Checkpoint) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: tensor.data for tensor in found.tensors}


def initialiser(proto: onnx.ModelProto, name: str) -> TensorProto:
    return next(tensor for tensor in proto.graph.initializer if tensor.name == name)


def changed(proto: onnx.ModelProto, name: str, value: np.ndarray[Any, Any]) -> None:
    initialiser(proto, name).CopyFrom(raw(name, value))


def node(proto: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if node.op_type == kind)


def insert(proto: onnx.ModelProto, place: int, made: onnx.NodeProto) -> None:
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes[:place], made, *nodes[place:]])


def test_values_stay_mapped(proto: onnx.ModelProto, tmp_path: Path) -> None:
    for tensor in opened(proto, tmp_path).tensors:
        assert not tensor.data.flags.owndata


def test_weight_by_way_of_other_operations_is_its_value(proto: onnx.ModelProto, tmp_path: Path) -> None:
    weight = arrays(network())["fc.weight"]
    changed(proto, "fc.weight", weight.T)
    node(proto, "Gemm").input[1] = "turned"
    insert(proto, 0, helper.make_node("Transpose", ["same"], ["turned"], perm=[1, 0]))
    insert(proto, 0, helper.make_node("Identity", ["fc.weight"], ["same"]))
    np.testing.assert_array_equal(tensors(opened(proto, tmp_path))["fc.weight"], weight)


def test_gemm_without_transposition_and_with_factors(proto: onnx.ModelProto, tmp_path: Path) -> None:
    held = arrays(network())
    changed(proto, "fc.weight", held["fc.weight"].T)
    gemm = node(proto, "Gemm")
    del gemm.attribute[:]
    gemm.attribute.extend([helper.make_attribute("alpha", 2.0), helper.make_attribute("beta", 0.5)])
    found = tensors(opened(proto, tmp_path))
    np.testing.assert_array_equal(found["fc.weight"], held["fc.weight"] * 2)
    np.testing.assert_array_equal(found["fc.bias"], held["fc.bias"] * np.float32(0.5))


def test_whole_numbers_are_the_values_they_stand_for(proto: onnx.ModelProto, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).integers(-127, 127, (5, 24)).astype(np.int8)
    scale = np.linspace(0.1, 0.5, 5).astype("f4")
    changed(proto, "fc.weight", weight)
    proto.graph.initializer.extend([raw("scale", scale), raw("zero", np.full(5, 3, np.int8))])
    insert(proto, 0, helper.make_node("DequantizeLinear", ["fc.weight", "scale", "zero"], ["w"], axis=0))
    node(proto, "Gemm").input[1] = "w"
    expected = (weight.astype("f4") - 3) * scale[:, None]
    np.testing.assert_array_equal(tensors(opened(proto, tmp_path))["fc.weight"], expected)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_floats_in_either_place(proto: onnx.ModelProto, tmp_path: Path, kind: type) -> None:
    weight = arrays(network())["fc.weight"].astype(kind)
    for write in (
        raw,
        lambda n, v: helper.make_tensor(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape, v),
    ):
        initialiser(proto, "fc.weight").CopyFrom(write("fc.weight", weight))
        np.testing.assert_array_equal(tensors(opened(proto, tmp_path))["fc.weight"], weight)


def test_what_reaches_no_output_is_a_note_and_not_the_head(proto: onnx.ModelProto, tmp_path: Path) -> None:
    proto.graph.initializer.extend([raw("decoy.weight", np.ones((9, 24), "f4"))])
    proto.graph.node.append(helper.make_node("Gemm", ["j", "decoy.weight"], ["unused"], transB=1))
    found = opened(proto, tmp_path)
    assert list(tensors(found))[-1] == "fc.bias"
    assert "decoy.weight" not in tensors(found)
    assert [finding.kind for finding in found.findings] == ["note"]
    assert "reach no output" in found.findings[0].detail


def test_folded_norms_are_said(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network(), (torch.zeros(1, 3, 9, 9),), str(path), dynamo=False)
    found = read(path)
    assert next(finding.detail for finding in found.findings).startswith("batch norms are folded into 3 of")
    assert list(tensors(found)) == [
        *("stem.0.weight", "stem.0.bias", "depth.weight", "depth.bias"),
        *("wide.weight", "wide.bias", "fc.weight", "fc.bias"),
    ]


def test_role_is_the_operations_and_not_the_names(proto: onnx.ModelProto, tmp_path: Path) -> None:
    """Names exchanged between two tensors of a norm change which is which in the file, not in what computes."""
    norm = [n for n in proto.graph.node if n.op_type == "BatchNormalization"][-1]
    held = arrays(network())
    for name, other in (("norm.weight", "norm.running_var"), ("norm.running_var", "norm.weight")):
        changed(proto, name, held[other])
    norm.input[1], norm.input[4] = "norm.running_var", "norm.weight"
    found = tensors(opened(proto, tmp_path))
    stem = next(
        n for n in found if n.endswith("running_var") and np.array_equal(found[n], held["norm.running_var"])
    )
    np.testing.assert_array_equal(found[stem.replace("running_var", "weight")], held["norm.weight"])


def test_weight_that_is_computed_from_the_input_is_unreadable(proto: onnx.ModelProto, tmp_path: Path) -> None:
    insert(proto, 0, helper.make_node("Relu", ["fc.weight"], ["made"]))
    node(proto, "Gemm").input[1] = "made"
    found = opened(proto, tmp_path)
    assert any(f.kind == "unreadable-tensor" and "Relu" in f.detail for f in found.findings)


REFUSED: dict[str, tuple[type[Exception], str, Edit]] = {
    "two of one name": (
        HostileFile,
        "two initialisers",
        lambda p: p.graph.initializer.append(p.graph.initializer[0]),
    ),
    "a value made twice": (
        HostileFile,
        "makes 'y' twice",
        lambda p: p.graph.node.append(helper.make_node("Relu", ["j"], ["y"])),
    ),
    "an initialiser made": (
        HostileFile,
        "makes 'fc.bias' twice",
        lambda p: p.graph.node.append(helper.make_node("Relu", ["j"], ["fc.bias"])),
    ),
    "out of order": (
        UnreadableFile,
        "before it is there",
        lambda p: p.graph.node.append(helper.make_node("Relu", ["none"], ["z"])),
    ),
    "a branch": (
        UnsupportedLayout,
        "branch or loop",
        lambda p: node(p, "Relu").attribute.append(helper.make_attribute("then_branch", p.graph)),
    ),
    "own operators": (
        UnsupportedLayout,
        "inline",
        lambda p: (p.functions.append(helper.make_function("", "Relu", ["x"], ["y"], [], [])),),
    ),
    "no output": (UnreadableFile, "no output", lambda p: p.graph.ClearField("output")),
    "no weights": (UnsupportedLayout, "none of its weights", lambda p: _only_relu(p)),
    "no graph": (UnreadableFile, "no model format", lambda p: p.ClearField("graph")),
    "a long name": (HostileFile, "characters", lambda p: setattr(node(p, "Relu"), "name", "x" * 5000)),
    "many dimensions": (
        HostileFile,
        "dimensions",
        lambda p: p.graph.initializer.append(
            TensorProto(name="d", dims=[1] * 1000, data_type=1, raw_data=b"abcd")
        ),
    ),
    "two places of values": (
        HostileFile,
        "two places",
        lambda p: p.graph.initializer[0].float_data.append(1.0),
    ),
}


def _only_relu(proto: onnx.ModelProto) -> None:
    del proto.graph.node[:]
    del proto.graph.initializer[:]
    proto.graph.node.append(helper.make_node("Relu", ["x"], ["y"]))


@pytest.mark.parametrize("name", REFUSED)
def test_graph_that_is_ambiguous_or_not_understood_is_refused(
    proto: onnx.ModelProto, tmp_path: Path, name: str
) -> None:
    error, what, edit = REFUSED[name]
    edit(proto)
    with pytest.raises(error, match=what):
        opened(proto, tmp_path)


def test_two_graphs_are_hostile(proto: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString() * 2)
    with pytest.raises(HostileFile, match="2 graphs"):
        read(path)


UNREADABLE: dict[str, Edit] = {
    "too few bytes": lambda t: setattr(t, "raw_data", t.raw_data[:-4]),
    "too many bytes": lambda t: setattr(t, "raw_data", t.raw_data + b"abcd"),
    "a terabyte": lambda t: t.dims.__setitem__(slice(None), [1 << 40, 24]),
    "a negative size": lambda t: t.dims.__setitem__(slice(None), [-5, -24]),
    "nine dimensions": lambda t: t.dims.__setitem__(slice(None), [5, 24, *[1] * 7]),
    "texts": lambda t: setattr(t, "data_type", TensorProto.STRING),
    "eight bits": lambda t: setattr(t, "data_type", TensorProto.FLOAT8E4M3FN),
    "an unknown type": lambda t: setattr(t, "data_type", 99),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_tensor_that_cannot_be_is_a_finding(proto: onnx.ModelProto, tmp_path: Path, name: str) -> None:
    UNREADABLE[name](initialiser(proto, "fc.weight"))
    found = opened(proto, tmp_path)
    assert [finding.kind for finding in found.findings] == ["unreadable-tensor"]
    assert "fc.weight" in found.findings[0].detail
    assert "fc.weight" not in tensors(found)


# Weights in other files


def elsewhere(proto: onnx.ModelProto, **place: str) -> onnx.ModelProto:
    tensor = initialiser(proto, "fc.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in place.items():
        tensor.external_data.add(key=key, value=value)
    return proto


def test_file_beside_is_read_and_changes_the_digest(proto: onnx.ModelProto, tmp_path: Path) -> None:
    weight = arrays(network())["fc.weight"]
    (tmp_path / "inner").mkdir()
    other = tmp_path / "inner" / "w.bin"
    other.write_bytes(bytes(8) + weight.tobytes() + bytes(8))
    elsewhere(proto, location="inner/w.bin", offset="8", length=str(weight.nbytes))
    first = opened(proto, tmp_path)
    np.testing.assert_array_equal(tensors(first)["fc.weight"], weight)
    other.write_bytes(bytes(8) + (weight + 1).tobytes() + bytes(8))
    assert opened(proto, tmp_path).sha256 != first.sha256


@pytest.mark.parametrize(
    "location",
    ["../secret", "/etc/passwd", "inner/../../secret", "", "a\\b", "./", "link", "inner/link", "pipe"],
)
def test_weights_that_lie_elsewhere_are_hostile(
    proto: onnx.ModelProto, tmp_path: Path, location: str
) -> None:
    (tmp_path / "secret").write_bytes(bytes(480))
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    os.mkfifo(folder / "pipe")
    for link in (folder / "link", folder / "inner" / "link"):
        link.symlink_to(tmp_path / "secret")
    with pytest.raises(HostileFile, match="to be read from"):
        opened(elsewhere(proto, location=location), folder)


def test_folder_that_is_a_link_is_hostile_too(proto: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret").write_bytes(bytes(480))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "inner").symlink_to(tmp_path / "out")
    with pytest.raises(HostileFile, match="a link"):
        opened(elsewhere(proto, location="inner/secret"), tmp_path / "model")


@pytest.mark.parametrize(
    "place",
    [
        {"length": "1000"},
        {"offset": "1000"},
        {"offset": "-8"},
        {"offset": "9" * 30},
        {"length": "x"},
        {"location": "absent"},
    ],
)
def test_part_that_is_not_there_is_a_finding(
    proto: onnx.ModelProto, tmp_path: Path, place: dict[str, str]
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(480))
    found = opened(elsewhere(proto, **{"location": "w.bin"} | place), tmp_path)
    assert [finding.kind for finding in found.findings] == ["unreadable-tensor"]


# Exhaustion


def test_weights_computed_over_and_over_are_hostile(proto: onnx.ModelProto, tmp_path: Path) -> None:
    proto.graph.initializer.extend([raw("q", np.ones((1024, 1024), np.int8)), raw("s", np.ones((), "f4"))])
    ends = []
    for number in range(60):
        proto.graph.node.append(helper.make_node("DequantizeLinear", ["q", "s"], [f"w{number}"]))
        proto.graph.node.append(helper.make_node("Gemm", ["j", f"w{number}"], [f"z{number}"]))
        ends.append(f"z{number}")
    proto.graph.output.extend(helper.make_tensor_value_info(end, 1, None) for end in ends)
    with pytest.raises(HostileFile, match="bytes of weights"):
        opened(proto, tmp_path)


def test_many_names_for_one_weight_are_hostile(proto: onnx.ModelProto, tmp_path: Path) -> None:
    for number in range(200):
        insert(proto, 0, helper.make_node("Identity", ["wide.weight"], [f"w{number}"]))
        proto.graph.node.append(helper.make_node("Conv", ["e", f"w{number}"], [f"z{number}"]))
        proto.graph.output.append(helper.make_tensor_value_info(f"z{number}", 1, None))
    with pytest.raises(HostileFile, match="share their bytes"):
        opened(proto, tmp_path)


def test_a_million_fields_are_hostile(proto: onnx.ModelProto, tmp_path: Path) -> None:
    proto.graph.node.extend([onnx.NodeProto()] * 300_000)
    with pytest.raises(HostileFile, match="fields"):
        opened(proto, tmp_path)
