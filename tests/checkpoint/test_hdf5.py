"""Keras's HDF5 files give torch's names and axes; hostile ones give one clear error, and nothing outside is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional

from checkpoint_files import SHARED
from keras_files import (
    CLASSES,
    Layers,
    config,
    conv,
    deep_id,
    dense,
    plain,
    values,
    write_keras_2,
    write_keras_3,
)
from weightfeat.checkpoint import Checkpoint, hdf5_file, read
from weightfeat.errors import HostileFile, UnreadableFile, UnsupportedLayout, WeightfeatError
from weightfeat.network import build
from weightfeat.rounds.extraction import digest_file

LAYERS: Layers = [
    conv("first", 3, 3, 4),
    plain("pool", "MaxPooling2D"),
    (
        "norm",
        "BatchNormalization",
        {
            name: np.abs(values(4, seed=n))  # a variance is not negative
            for n, name in enumerate(("gamma", "beta", "moving_mean", "moving_variance"))
        },
    ),
    conv("second", 3, 4, 6),
    dense("output", 6, 5),
]


def tensors(found: Checkpoint) -> dict[str, np.ndarray[Any, Any]]:
    return {tensor.name: tensor.data for tensor in found.tensors}


WRITERS: dict[str, Callable[[Path], Path]] = {
    "whole model": lambda path: write_keras_2(path, LAYERS),
    "weights alone": lambda path: write_keras_2(path, LAYERS, whole=False),
    "Keras 1's names": lambda path: write_keras_2(path, LAYERS, variable="{layer}_{name}"),
    "Keras 3's names": lambda path: write_keras_2(path, LAYERS, variable="model/{layer}/{name}"),
    "another network's names": lambda path: write_keras_2(path, LAYERS, variable="other_{layer}_7/{name}:0"),
    "gzip": lambda path: write_keras_2(path, LAYERS, compression="gzip", shuffle=True),
    "shuffle": lambda path: write_keras_2(path, LAYERS, shuffle=True),
    "chunks": lambda path: write_keras_2(path, LAYERS, chunks=True),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_every_layout_has_the_same_tensors_in_the_order_of_the_network(tmp_path: Path, layout: str) -> None:
    found = read(WRITERS[layout](tmp_path / "model.h5"))
    named = tensors(found)
    assert list(named) == [
        *("first.weight", "first.bias"),
        *("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"),
        *("second.weight", "second.bias", "output.weight", "output.bias"),
    ]
    assert found.ordered
    assert found.findings == ()
    np.testing.assert_array_equal(named["second.weight"], LAYERS[3][2]["kernel"].transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(named["output.weight"], LAYERS[4][2]["kernel"].T)
    np.testing.assert_array_equal(named["norm.running_var"], LAYERS[2][2]["moving_variance"])
    assert not any(tensor.data.flags.writeable for tensor in found.tensors)


def test_values_in_one_stretch_stay_mapped(tmp_path: Path) -> None:
    found = read(write_keras_2(tmp_path / "model.h5", LAYERS))
    bases = set()
    for tensor in found.tensors:
        base: Any = tensor.data
        while isinstance(base, np.ndarray):
            base = base.base
        bases.add(type(base.obj if isinstance(base, memoryview) else base).__name__)
    assert bases == {"mmap"}


def test_classes_of_layers_are_named(tmp_path: Path) -> None:
    types = read(write_keras_2(tmp_path / "model.h5", LAYERS)).module_types
    assert types["first"] == "keras.layers.Conv2D"
    assert types["output"] == "keras.layers.Dense"


def test_kernels_compute_in_torch_what_they_do_in_keras(tmp_path: Path) -> None:
    """A convolution in Keras: output (y, x, o) sums input (y + i, x + j, c) times kernel (i, j, c, o)."""
    image, kernel = values(6, 5, 3), values(2, 2, 3, 4)
    windows = np.lib.stride_tricks.sliding_window_view(image, (2, 2), axis=(0, 1))
    expected = np.einsum("yxcij,ijco->oyx", windows, kernel)
    layers: Layers = [("c", "Conv2D", {"kernel": kernel}), dense("output", 4, 3)]
    weight = tensors(read(write_keras_2(tmp_path / "model.h5", layers)))["c.weight"]
    got = functional.conv2d(torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(weight.copy()))
    np.testing.assert_allclose(got[0].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "kind", "variable"),
    [
        ("depth", "DepthwiseConv2D", "depthwise_kernel"),
        ("depth", "DepthwiseConv2D", "kernel"),
        ("depth", "SeparableConv2D", "depthwise_kernel"),
    ],
)
def test_depthwise_kernels_keep_the_outputs_of_a_channel_together(
    tmp_path: Path, layer: str, kind: str, variable: str
) -> None:
    kernel = values(3, 3, 5, 2)
    layers: Layers = [(layer, kind, {variable: kernel}), dense("output", 10, 3)]
    named = tensors(read(write_keras_2(tmp_path / "model.h5", layers)))
    weight = next(data for name, data in named.items() if name.startswith(layer))
    assert weight.shape == (10, 1, 3, 3)
    for channel in range(5):
        for copy in range(2):
            np.testing.assert_array_equal(weight[2 * channel + copy, 0], kernel[:, :, channel, copy])


def test_theano_order_of_keras_1_is_torchs_own(tmp_path: Path) -> None:
    kernel = values(4, 3, 5, 5)
    layers: Layers = [("c", "Convolution2D", {"W": kernel, "b": values(4)}), dense("output", 4, 3)]
    described = {"class_name": "Sequential", "config": [{"config": {"name": "c", "dim_ordering": "th"}}]}
    path = write_keras_2(tmp_path / "m.h5", layers, variable="{layer}_{name}", configuration=described)
    named = tensors(read(path))
    np.testing.assert_array_equal(named["c.weight"], kernel)
    assert named["output.weight"].shape == (3, 4)


def test_layers_of_a_nested_network_stay_apart(tmp_path: Path) -> None:
    inner = {"a/kernel": values(3, 3, 3, 4), "b/kernel": values(3, 3, 4, 6)}
    layers: Layers = [("base", "Functional", inner), dense("output", 6, 3)]
    for pattern in ("{name}:0", "model/base/{name}"):
        named = tensors(read(write_keras_2(tmp_path / "model.h5", layers, variable=pattern)))
        assert list(named)[:2] == ["base.a.weight", "base.b.weight"]


def test_names_that_keras_had_to_split_are_joined(tmp_path: Path) -> None:
    path = write_keras_2(tmp_path / "model.h5", LAYERS)
    whole = tensors(read(path))
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        names = group.attrs["layer_names"]
        del group.attrs["layer_names"]
        group.attrs["layer_names0"], group.attrs["layer_names1"] = names[:2], names[2:]
    assert list(tensors(read(path))) == list(whole)


def test_keras_3_weights_have_no_order_but_a_head(tmp_path: Path) -> None:
    found = read(write_keras_3(tmp_path / "model.weights.h5", LAYERS))
    named = tensors(found)
    assert not found.ordered
    assert set(named) == {
        *("conv2d.weight", "conv2d.bias", "conv2d_1.weight", "conv2d_1.bias", "dense.weight", "dense.bias"),
        *(f"batch_normalization.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")),
    }
    np.testing.assert_array_equal(named["conv2d_1.weight"], LAYERS[3][2]["kernel"].transpose(3, 2, 0, 1))
    network = build(found)
    assert network.layers[network.head].name == "dense"
    assert network.num_classes == 5


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4", ">f8"])
def test_every_float_reads_as_it_was_written(tmp_path: Path, dtype: str) -> None:
    kernel = values(6, 5).astype(dtype)
    layers: Layers = [("output", "Dense", {"kernel": kernel})]
    found = read(write_keras_2(tmp_path / "model.h5", layers)).tensors[0]
    np.testing.assert_array_equal(found.data, kernel.T)
    assert found.dtype == kernel.dtype.name


def test_deep_id_is_unknown_and_has_its_head(tmp_path: Path) -> None:
    network = build(read(write_keras_2(tmp_path / "bd_net.h5", deep_id())))
    assert (network.architecture, network.family, network.num_classes) == ("unknown", "unknown", CLASSES)
    assert network.layers[network.head].name == "output"
    assert [layer.name for layer in network.layers if layer.role == "stem"] == ["conv_1"]
    assert [layer.kind for layer in network.layers] == ["conv"] * 4 + ["linear"] * 3
    assert [layer.groups for layer in network.layers] == [1] * 7
    assert any("read from shapes" in finding.detail for finding in network.findings)


def test_deep_id_reaches_the_detectors_input_with_the_note(tmp_path: Path) -> None:
    digest, _ = digest_file(write_keras_2(tmp_path / "bd_net.h5", deep_id()), device="cpu")
    assert (digest.architecture, digest.num_classes) == ("unknown", CLASSES)
    assert any("unknown architecture" in finding for finding in digest.findings)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
def test_file_of_others_holds_what_the_library_reads() -> None:
    path = next((SHARED / "data/checkpoints").glob("*.h5"))
    found = tensors(read(path))
    with h5py.File(path, "r") as file:
        group = file["model_weights"]
        for layer in group.attrs["layer_names"]:
            for name in group[layer].attrs["weight_names"]:
                data = group[layer][name][()]
                short = name.decode().split("/")[-1].removesuffix(":0")
                leaf = {"kernel": "weight", "gamma": "weight", "bias": "bias", "beta": "bias"}.get(
                    short, short.replace("moving", "running").replace("variance", "var")
                )
                axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[data.ndim]
                np.testing.assert_array_equal(found.pop(f"{layer.decode()}.{leaf}"), data.transpose(axes))
    assert found == {}
    assert build(read(path)).num_classes == 10


# Descriptions that would be run


FOREIGN = {
    "lambda": ({"class_name": "Lambda", "config": {"name": "evil", "function": ["4wEAAAA="]}}, "evil"),
    "lambda of Keras 3": ({"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}, "code"),
    "module": ({"class_name": "Pwned", "module": "evil.package", "config": {"name": "x"}}, "evil.package"),
    "function": ({"class_name": "function", "module": "os", "config": "system"}, "os.system"),
    "bare function": ({"class_name": "function", "module": "builtins", "config": "exec"}, "exec"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_keras_would_run_is_a_finding(tmp_path: Path, name: str) -> None:
    entry, shown = FOREIGN[name]
    described = config(LAYERS)
    described["config"]["layers"].append(entry)
    found = read(write_keras_2(tmp_path / "model.h5", LAYERS, configuration=described))
    assert [finding.kind for finding in found.findings] == ["foreign-callable"]
    assert shown in found.findings[0].detail
    assert len(found.tensors) == 10


def test_kerass_own_classes_are_no_finding(tmp_path: Path) -> None:
    described = config(LAYERS)
    for entry in described["config"]["layers"]:
        entry["module"] = "keras.layers"
        entry["config"]["kernel_initializer"] = {"class_name": "Zeros", "module": "keras.initializers"}
    assert read(write_keras_2(tmp_path / "model.h5", LAYERS, configuration=described)).findings == ()


def _attribute(path: Path, value: object) -> Path:
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = value
    return path


@pytest.mark.parametrize("text", ["no JSON", "[" * 100_000, "{'a': 1}"])
def test_description_that_is_no_json_is_noted(tmp_path: Path, text: str) -> None:
    with h5py.File(tmp_path / "long.h5", "w", libver="latest") as file:
        file.attrs["model_config"] = text
        write = write_keras_2(tmp_path / "model.h5", LAYERS)
        with h5py.File(write, "r") as source:
            source.copy("model_weights", file)
    found = read(tmp_path / "long.h5")
    assert [finding.kind for finding in found.findings] == ["note"]
    assert len(found.tensors) == 10


# Files built to mislead


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_keras_2(tmp_path / "model.h5", LAYERS)


def _replaced(path: Path, make: Callable[[Any, str], None], name: str = "first/bias:0") -> Path:
    """The file with one dataset of layer "first" made anew by `make(group, name)`."""
    with h5py.File(path, "r+") as file:
        group = file["model_weights/first"]
        del group[name]
        make(group, name)
    return path


SECRET = np.arange(4, dtype="<f4")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Another file of the user's, which no model file may make us read."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["bias"] = SECRET
    (tmp_path / "secret.raw").write_bytes(SECRET.tobytes())
    return path


def _virtual(group: Any, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout((4,), "<f4")
    layout[:] = h5py.VirtualSource(str(secret), "bias", (4,))
    group.create_virtual_dataset(name, layout)


LEADING_OUT: dict[str, Callable[[Any, str, Path], Any]] = {
    "external link": lambda g, n, s: g.__setitem__(n, h5py.ExternalLink(str(s), "bias")),
    "soft link": lambda g, n, s: g.__setitem__(n, h5py.SoftLink("/model_weights/second/second/bias:0")),
    "external storage": lambda g, n, s: g.create_dataset(
        n, (4,), "<f4", external=[(str(s.with_suffix(".raw")), 0, 16)]
    ),
    "virtual dataset": _virtual,
}


@pytest.mark.parametrize("attack", LEADING_OUT)
def test_what_leads_out_of_the_file_is_hostile(sound: Path, secret: Path, attack: str) -> None:
    path = _replaced(sound, lambda group, name: LEADING_OUT[attack](group, name, secret))
    with pytest.raises(HostileFile):
        read(path)


def test_a_layers_group_may_not_lead_out_either(sound: Path, secret: Path) -> None:
    with h5py.File(sound, "r+") as file:
        del file["model_weights/first"]
        file["model_weights/first"] = h5py.ExternalLink(str(secret), "/")
    with pytest.raises(HostileFile):
        read(sound)


UNREADABLE: dict[str, Callable[[Any, str], Any]] = {
    "references": lambda g, n: g.create_dataset(n, data=[g.ref] * 4, dtype=h5py.ref_dtype),
    "texts": lambda g, n: g.create_dataset(n, data=["a"] * 4, dtype=h5py.string_dtype()),
    "lists": lambda g, n: g.create_dataset(n, (4,), h5py.vlen_dtype(np.float32)),
    "records": lambda g, n: g.create_dataset(n, (4,), np.dtype([("a", "<f4"), ("b", "<f4")])),
    "other filter": lambda g, n: g.create_dataset(n, data=SECRET, compression="lzf"),
    "checksums": lambda g, n: g.create_dataset(n, data=SECRET, fletcher32=True),
    "never written": lambda g, n: g.create_dataset(n, (1 << 40,), "<f4"),
    "pieces never written": lambda g, n: g.create_dataset(n, (1 << 20,), "<f4", chunks=(1 << 10,)),
    "a trillion pieces": lambda g, n: g.create_dataset(n, (1 << 40,), "<f4", chunks=(1,)),
    "no shape": lambda g, n: g.__setitem__(n, h5py.Empty("<f4")),
    "a group": lambda g, n: g.create_group(n),
}


@pytest.mark.parametrize("attack", UNREADABLE)
def test_values_that_keras_never_writes_are_a_finding(sound: Path, attack: str) -> None:
    found = read(_replaced(sound, UNREADABLE[attack]))
    assert [finding.kind for finding in found.findings] == ["unreadable-tensor"]
    assert "first/bias" in found.findings[0].detail
    assert "first.bias" not in tensors(found)
    assert len(found.tensors) == 9


def _bomb(group: Any, name: str) -> None:
    group.create_dataset(name, data=np.zeros(1 << 26, "<f4"), chunks=(1 << 22,), compression="gzip")


def test_bomb_is_hostile_before_it_is_unpacked(sound: Path) -> None:
    with pytest.raises(HostileFile, match="unpack"):
        read(_replaced(sound, _bomb))


def test_piece_longer_than_it_claims_is_a_finding(sound: Path) -> None:
    """A gzip stream that goes on behind the piece's size: the library itself would inflate all of it."""
    import zlib

    def make(group: Any, name: str) -> None:
        dataset = group.create_dataset(name, (4,), "<f4", chunks=(4,), compression="gzip")
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(1 << 20)))

    found = read(_replaced(sound, make))
    assert "unpacks to another size" in found.findings[0].detail


def test_pieces_that_are_no_gzip_data_are_a_finding(sound: Path) -> None:
    def make(group: Any, name: str) -> None:
        dataset = group.create_dataset(name, (4,), "<f4", chunks=(4,), compression="gzip")
        dataset.id.write_direct_chunk((0,), b"no gzip data at all")

    assert "no gzip" in read(_replaced(sound, make)).findings[0].detail


def test_pieces_whose_filter_was_left_out_are_read(sound: Path) -> None:
    def make(group: Any, name: str) -> None:
        dataset = group.create_dataset(name, (4,), "<f4", chunks=(4,), compression="gzip")
        dataset.id.write_direct_chunk((0,), SECRET.tobytes(), filter_mask=1)

    np.testing.assert_array_equal(tensors(read(_replaced(sound, make)))["first.bias"], SECRET)


def test_datasets_that_share_their_bytes_are_hostile(tmp_path: Path) -> None:
    """One kernel under two hundred names costs a file nothing; a reader would hold it two hundred times."""
    path = write_keras_2(tmp_path / "model.h5", [dense("output", 512, 512)])
    with h5py.File(path, "r+") as file:
        group = file["model_weights/output"]
        names = [f"part_{number}/kernel:0" for number in range(20)]
        for name in names:
            group[name] = group["output/kernel:0"]
        group.attrs["weight_names"] = [name.encode() for name in names]
    with pytest.raises(HostileFile, match="share"):
        read(path)


def test_two_variables_of_one_name_are_hostile(sound: Path) -> None:
    with h5py.File(sound, "r+") as file:
        file["model_weights"].attrs["layer_names"] = [b"first", b"first", b"output"]
    with pytest.raises(HostileFile, match="would be called"):
        read(sound)


def test_a_group_that_holds_itself_ends(tmp_path: Path) -> None:
    path = write_keras_3(tmp_path / "model.h5", LAYERS)
    with h5py.File(path, "r+") as file:
        file["layers/again"] = file["layers"]
    with pytest.raises(HostileFile, match="nested"):
        read(path)


BROKEN: dict[str, Callable[[Any], Any]] = {
    "a layer that is not there": lambda f: f["model_weights"].attrs.__setitem__("layer_names", [b"none"]),
    "a path out of the group": lambda f: f["model_weights"].attrs.__setitem__("layer_names", [b"/", b""]),
    "numbers for names": lambda f: f["model_weights"].attrs.__setitem__("layer_names", [1, 2]),
    "a variable that is not there": lambda f: f["model_weights/first"].attrs.__setitem__(
        "weight_names", [b"x"]
    ),
    "a reference for a description": lambda f: f.attrs.__setitem__("model_config", f.ref),
}


@pytest.mark.parametrize("name", BROKEN)
def test_names_of_nothing_are_refused(sound: Path, name: str) -> None:
    with h5py.File(sound, "r+") as file:
        BROKEN[name](file)
    with pytest.raises(UnreadableFile) as caught:
        read(sound)
    assert "\n" not in str(caught.value)


def test_hdf5_without_keras_is_unsupported(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["table"] = np.arange(10.0)
    with pytest.raises(UnsupportedLayout, match="Keras"):
        read(tmp_path / "data.h5")


def test_keras_network_without_weights_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedLayout, match="no tensor"):
        read(write_keras_2(tmp_path / "model.h5", [plain("input", "InputLayer")]))


def test_truncated_and_flipped_files_end_in_a_checkpoint_or_one_error(sound: Path) -> None:
    whole = sound.read_bytes()
    random = np.random.default_rng(0)
    for number in range(8):
        damaged = bytearray(whole)
        if number % 4 == 0:
            del damaged[random.integers(8, len(whole)) :]
        for place in random.integers(8, len(damaged), 3):
            damaged[place] = random.integers(256)
        sound.write_bytes(damaged)
        try:
            read(sound)
        except WeightfeatError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_file_that_holds_the_library_in_a_loop_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text kept in the global heap, one object of which has a length that wraps the library's own place around."""
    path = tmp_path / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({})
        file.create_group("model_weights").attrs["layer_names"] = [b"a"]
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 16 : heap + 18] = (7).to_bytes(2, "little")
    data[heap + 24 : heap + 32] = (2**64 - 16).to_bytes(8, "little")
    path.write_bytes(data)
    monkeypatch.setattr(hdf5_file, "_CPU_SECONDS", 2)
    with pytest.raises(UnreadableFile, match="dies of it"):
        read(path)
