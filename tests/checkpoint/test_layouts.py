"""One network in every layout gives the tensors of its own state_dict(), bit for bit and in order."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from checkpoint_files import (
    FLAT,
    MODULE_NAME,
    SCRIPTED,
    SHARED,
    UNORDERED,
    WHOLE,
    bits,
    records,
    rewrite,
    saved,
    vanishing_network,
)
from weightfeat.checkpoint import Checkpoint, read
from weightfeat.errors import HostileFile
from weightfeat.execution.vision import build_network

Writer = Callable[[nn.Module, Path], None]


def written(folder: Path, write: Writer) -> tuple[Path, dict[str, torch.Tensor]]:
    path = folder / "model.bin"
    with vanishing_network(folder) as network, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit calls itself deprecated
        write(network, path)
        return path, {name: value.clone() for name, value in network.state_dict().items()}


def assert_same(found: Checkpoint, expected: dict[str, torch.Tensor]) -> None:
    assert [tensor.name for tensor in found.tensors] == list(expected)
    for tensor in found.tensors:
        value = expected[tensor.name]
        assert tensor.dtype == str(value.dtype).removeprefix("torch.")
        assert tensor.shape == tuple(value.shape)
        assert tensor.data.tobytes() == bits(value)


@pytest.mark.parametrize("layout", [*WHOLE, *FLAT])
def test_tensors_are_those_of_state_dict(tmp_path: Path, layout: str) -> None:
    path, expected = written(tmp_path, {**WHOLE, **FLAT}[layout])
    before = set(sys.modules)
    found = read(path)
    assert set(sys.modules) - before <= {"safetensors"}
    assert MODULE_NAME not in sys.modules
    assert_same(found, expected)
    assert found.ordered
    assert not [finding for finding in found.findings if finding.kind != "note"]
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_torchscript_gives_what_torch_loads_from_it(tmp_path: Path) -> None:
    # The format keeps non-persistent buffers too, unlike state_dict().
    path, expected = written(tmp_path, SCRIPTED["torchscript"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = torch.jit.load(path).state_dict()
    found = read(path)
    assert found.format == "torchscript"
    assert_same(found, loaded)
    assert_same(replace(found, tensors=tuple(t for t in found.tensors if t.name != "scratch")), expected)


def test_safetensors_has_the_same_tensors_and_says_they_are_unordered(tmp_path: Path) -> None:
    path, expected = written(tmp_path, UNORDERED["safetensors"])
    found = read(path)
    assert_same(found, {tensor.name: expected[tensor.name] for tensor in found.tensors})
    assert len(found.tensors) == len(expected)
    assert not found.ordered
    assert [finding.kind for finding in found.findings] == ["ambiguous-order"]


@pytest.mark.parametrize("layout", [*WHOLE, *SCRIPTED])
def test_module_types_are_those_of_named_modules(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "model.bin"
    with vanishing_network(tmp_path) as network, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        {**WHOLE, **SCRIPTED}[layout](network, path)
        expected = {n: f"{type(m).__module__}.{type(m).__qualname__}" for n, m in network.named_modules()}
    assert dict(read(path).module_types) == expected


def test_tensors_are_read_only_views_of_the_mapped_file(tmp_path: Path) -> None:
    path, _ = written(tmp_path, WHOLE["zip protocol 2"])
    for tensor in read(path).tensors:
        assert not tensor.data.flags.writeable
        assert not tensor.data.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            tensor.data[...] = 0


def test_the_name_of_a_file_says_nothing(tmp_path: Path) -> None:
    path, expected = written(tmp_path, WHOLE["legacy"])
    renamed = path.rename(tmp_path / "weights.safetensors")
    assert_same(read(renamed), expected)


@pytest.mark.parametrize(
    "dtype",
    [
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
        *(
            torch.uint8,
            torch.int8,
            torch.int16,
            torch.int32,
            torch.int64,
            torch.uint16,
            torch.uint32,
            torch.uint64,
        ),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_every_dtype(tmp_path: Path, dtype: torch.dtype, zipped: bool) -> None:
    value = torch.arange(-3, 9).reshape(3, 4).to(dtype)
    path = tmp_path / "model.pt"
    torch.save({"w": value}, path, _use_new_zipfile_serialization=zipped)
    found = read(path)
    assert_same(found, {"w": value})
    if not dtype.is_complex:
        assert found.tensors[0].float32().tolist() == value.float().tolist()


@pytest.mark.parametrize("zipped", [True, False])
def test_any_view_of_a_storage(tmp_path: Path, zipped: bool) -> None:
    base = torch.randn(6, 8, 3, 3)
    state = {
        "transposed": base.transpose(0, 2),
        "channels_last": base.to(memory_format=torch.channels_last),
        "slice": base[2:5, ::2, 1],
        "scalar": base[3, 3, 1, 1],
        "empty": base[:0],
        "none": torch.empty(0, 7),
    }
    path = tmp_path / "model.pt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert_same(read(path), state)


def test_tied_weights_keep_both_names_and_share_one_array(tmp_path: Path) -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    network = nn.Sequential(first, second, first)
    path = tmp_path / "model.pt"
    torch.save(network, path)
    found = read(path)
    assert_same(found, network.state_dict())
    assert len({id(tensor.data) for tensor in found.tensors}) == 3


def test_big_endian_archives_are_swapped(tmp_path: Path) -> None:
    value = torch.randn(5)
    path = tmp_path / "model.pt"
    torch.save({"w": value}, path)
    contents = records(path)
    root = next(iter(contents)).split("/")[0]
    contents[f"{root}/byteorder"] = b"big"
    contents[f"{root}/data/0"] = value.numpy().astype(">f4").tobytes()
    assert_same(read(rewrite(path, contents)), {"w": value})


def test_half_trained_networks_with_none_parameters_and_uncommon_layers(tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False),
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.utils.spectral_norm(nn.Linear(4, 4)),
        nn.LSTM(4, 4),
        nn.ParameterList([torch.zeros(2), torch.ones(2)]),
    )
    path = tmp_path / "model.pt"
    torch.save(network, path)
    assert_same(read(path), network.state_dict())


def test_network_is_found_in_any_nesting(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 2))
    path = tmp_path / "model.pt"
    torch.save({"run": [{"id": 1}, {"payload": {"weights": network.state_dict()}}]}, path)
    assert_same(read(path), network.state_dict())


def test_classifier_is_preferred_to_a_larger_generator_and_the_rest_is_noted(tmp_path: Path) -> None:
    classifier = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    generator = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    path = tmp_path / "model.pt"
    torch.save({"netG": generator.state_dict(), "netC": classifier.state_dict()}, path)
    found = read(path)
    assert_same(found, classifier.state_dict())
    assert [
        finding.detail
        for finding in found.findings
        if "netG" in finding.detail and "8 tensors" in finding.detail
    ]


@pytest.mark.parametrize("key", ["my_net", "model"])
def test_optimizer_state_is_never_taken_for_a_small_network(tmp_path: Path, key: str) -> None:
    network = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = tmp_path / "model.pt"
    torch.save({"run": {"optimizer": optimizer.state_dict(), key: network.state_dict()}}, path)
    found = read(path)
    assert_same(found, network.state_dict())
    assert found.findings


@pytest.mark.parametrize("separator", ["/", "__"])
def test_names_with_other_separators_are_read_with_dots(tmp_path: Path, separator: str) -> None:
    state = {"layer.0.weight": torch.ones(2, 2), "layer.10.bias": torch.zeros(2)}
    save_file(
        {name.replace(".", separator): value for name, value in state.items()}, tmp_path / "a.safetensors"
    )
    assert [tensor.name for tensor in read(tmp_path / "a.safetensors").tensors] == list(state)
    mixed = {"layer.a__b": torch.ones(2), "layer__c": torch.ones(2)}
    save_file(mixed, tmp_path / "b.safetensors")
    assert [tensor.name for tensor in read(tmp_path / "b.safetensors").tensors] == list(mixed)


def test_list_of_tensors_is_named_by_position(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(saved([torch.ones(2), torch.zeros(3)]))
    assert [tensor.name for tensor in read(path).tensors] == ["0", "1"]


def test_averaged_model_is_unwrapped(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    path = tmp_path / "model.pt"
    torch.save(averaged.state_dict(), path)
    assert [tensor.name for tensor in read(path).tensors] == ["n_averaged", "weight", "bias"]


def test_frozen_torchscript_gives_its_constants(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    path = tmp_path / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.freeze(torch.jit.script(network)), path)
    found = read(path)
    values = {tensor.data.tobytes() for tensor in found.tensors}
    assert {bits(value) for value in network.state_dict().values()} <= values
    assert not found.ordered


def test_python_2_spellings(tmp_path: Path) -> None:
    from checkpoint_files import SOUND_BYTES, program, sound_tensor, text, tuple_of, with_pickle

    pairs = b"](](" + text("w") + sound_tensor() + b"ee"
    data = program(b"ccollections\nOrderedDict\n", tuple_of(pairs), b"R")
    found = read(with_pickle(tmp_path / "model.pt", data, {"0": SOUND_BYTES}))
    assert [tensor.name for tensor in found.tensors] == ["w"]
    assert not found.findings


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
@pytest.mark.parametrize(
    "name",
    sorted(
        path.name for path in (SHARED / "data/checkpoints").glob("*") if path.suffix not in (".csv", ".h5")
    ),
)
def test_files_of_others_match_torch(name: str) -> None:
    path = SHARED / "data/checkpoints" / name
    found = read(path)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("netC", "state_dict", "model", "net"):
        if isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    expected = {n.removeprefix("module."): v for n, v in loaded.items() if isinstance(v, torch.Tensor)}
    assert_same(found, expected)
    assert np.isfinite(found.tensors[0].float32()).all()


@pytest.mark.parametrize("architecture", ["shufflenet_v2_x1_0", "googlenet", "squeezenet1_1"])
def test_torchvision_networks_are_read_without_torchvision(tmp_path: Path, architecture: str) -> None:
    model = build_network(architecture, 7)
    path = tmp_path / "model.pt"
    torch.save(model, path)
    found = read(path)
    assert_same(found, model.state_dict())
    assert list(found.module_types) == [name for name, _ in model.named_modules()]
    assert not found.findings


def test_class_that_torchvision_no_longer_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "torchvision.models.mobilenet"
    old = ModuleType(name)
    old.ConvBNReLU = type("ConvBNReLU", (nn.Sequential,), {"__module__": name})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, old)
    path = tmp_path / "model.pt"
    network = nn.Sequential(old.ConvBNReLU(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU6()))
    torch.save(network, path)
    monkeypatch.delitem(sys.modules, name)
    found = read(path)
    assert_same(found, network.state_dict())
    assert found.module_types["0"] == "torchvision.models.mobilenet.ConvBNReLU"
    assert not found.findings


def test_child_that_is_no_module_is_reported(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    network._modules["odd"] = torch.device("cpu")  # type: ignore[assignment]
    network._buffers["stray"] = 7  # type: ignore[assignment]
    path = tmp_path / "model.pt"
    torch.save(network, path)
    found = read(path)
    assert [tensor.name for tensor in found.tensors] == ["0.weight", "0.bias"]
    unreadable = [finding.detail for finding in found.findings if finding.kind == "unreadable-tensor"]
    assert ["'odd'" in detail or "'stray'" in detail for detail in unreadable] == [True, True]


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({3: torch.ones(1), (1, 2): torch.zeros(1), "w": torch.ones(2)}, path)
    assert sorted(tensor.name for tensor in read(path).tensors) == ["(1, 2)", "3", "w"]


def test_two_tensors_of_one_name_are_hostile(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({3: torch.ones(1), "3": torch.zeros(1)}, path)
    with pytest.raises(HostileFile, match="one name"):
        read(path)
