"""numpy's, torch.export's and distributed checkpoints that are damaged, or built to mislead or exhaust."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from checkpoint_files import call_of, program, text
from format_files import arrays, distributed, export, network, numpy_zip, old_export
from weightfeat.checkpoint import Checkpoint, read
from weightfeat.errors import HostileFile, UnsupportedLayout, WeightfeatError

EVIL = program(call_of("os", "system", text("touch canary")))


def records(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path: Path, **changed: bytes | None) -> Path:
    """The archive with some records other ones (by the end of their names), added or left out."""
    held: dict[str, bytes | None] = dict(records(path))
    for end, content in changed.items():
        held[next((name for name in held if name.endswith(end)), end)] = content
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def kinds(found: Checkpoint) -> list[str]:
    return [finding.kind for finding in found.findings]


# numpy


def npy(header: bytes, content: bytes = bytes(8), version: int = 1) -> bytes:
    width = 2 if version == 1 else 4
    return b"\x93NUMPY" + bytes((version, 0)) + len(header).to_bytes(width, "little") + header + content


def header(descr: str = "'<f4'", order: str = "False", shape: str = "(2,)", more: str = "") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, {more}}}\n".encode()


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "i1", "<i8", "u2", "?", "<c8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_type_and_order_of_numpy(tmp_path: Path, dtype: str, order: Any) -> None:
    value = np.arange(-3, 9).reshape(3, 4).astype(dtype).copy(order)
    np.savez(tmp_path / "model.npz", **{"w": value, "scalar": value[0, 0], "empty": value[:0]})
    found = {tensor.name: tensor for tensor in read(tmp_path / "model.npz").tensors}
    assert found["w"].dtype == value.dtype.name
    np.testing.assert_array_equal(found["w"].data, value)
    assert (found["scalar"].shape, found["empty"].shape) == ((), (0, 4))


NPY = {
    "objects": npy(header("'|O'"), pickle.dumps(np.array([{}], dtype=object))),
    "records": npy(header("[('a', '<f4'), ('b', '<f4')]")),
    "code": npy(header(shape="(__import__('os').system('touch canary'),)")),
    "another key": npy(header(more="'x': 1, ")),
    "a huge shape": npy(header(shape="(4611686018427387904, 4)")),
    "a negative size": npy(header(shape="(-2,)")),
    "nine dimensions": npy(header(shape="(1, 1, 1, 1, 1, 1, 1, 1, 2)")),
    "too few bytes": npy(header(), bytes(4)),
    "too many bytes": npy(header(), bytes(12)),
    "long doubles": npy(header("'<f16'"), bytes(32)),
    "another version": npy(header(), version=9),
    "a header past the end": b"\x93NUMPY\1\0\xff\xff{",
    "no array": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("name", NPY)
def test_array_that_numpy_would_not_read_so_is_a_finding(tmp_path: Path, name: str) -> None:
    path = numpy_zip(network(), tmp_path / "model.npz")
    found = read(rewritten(path, **{"evil.npy": NPY[name]}))
    assert kinds(found) == ["unreadable-tensor"]
    assert "'evil'" in found.findings[0].detail
    assert len(found.tensors) == len(arrays(network()))
    assert not Path("canary").exists()


def test_names_of_other_libraries_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    for name in ("params/conv/kernel", "conv/kernel:0", "kernel"):
        np.savez(path, **{name: np.zeros((3, 3, 3, 4), "f4")})
        with pytest.raises(UnsupportedLayout, match="axes"):
            read(path)


def test_bomb_of_arrays_is_hostile(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "model.npz", w=np.zeros(1 << 24, "f4"))
    with pytest.raises(HostileFile, match="unpacks to more"):
        read(tmp_path / "model.npz")


# torch.export


def manifest(path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """The archive with its list of weights edited."""
    name = next(name for name in records(path) if name.endswith("weights_config.json"))
    held = json.loads(records(path)[name])
    edit(held["config"])
    return rewritten(path, **{"weights_config.json": json.dumps(held).encode()})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return export(network(), tmp_path_factory.mktemp("export") / "m.pt2").read_bytes()


@pytest.fixture
def program2(tmp_path: Path, exported: bytes) -> Path:
    path = tmp_path / "m.pt2"
    path.write_bytes(exported)
    return path


def _meta(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda config: config["fc.weight"]["tensor_meta"].update(changes)


def _as(*numbers: int) -> list[dict[str, int]]:
    return [{"as_int": number} for number in numbers]


WEIGHTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pickled": lambda config: config["fc.weight"].update(use_pickle=True),
    "sparse": _meta(layout=1),
    "of no type": _meta(dtype="float"),
    "of eight bits": _meta(dtype=29),
    "too large": _meta(sizes=_as(1 << 40, 24)),
    "past its end": _meta(storage_offset={"as_int": 24}, sizes=_as(5, 23)),
    "of a negative stride": _meta(strides=_as(-24, 1)),
    "of a size that depends": _meta(sizes=[{"as_expr": {"expr_str": "s0"}}, {"as_int": 24}]),
    "in no record": lambda config: config["fc.weight"].update(path_name="weight_99"),
    "out of its folder": lambda config: config["fc.weight"].update(path_name="../../byteorder"),
    "no entry": lambda config: config.update({"fc.weight": 7}),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weight_that_cannot_be_is_a_finding(program2: Path, name: str) -> None:
    found = read(manifest(program2, WEIGHTS[name]))
    assert kinds(found) == ["unreadable-tensor"]
    assert "fc.weight" not in {tensor.name for tensor in found.tensors}


def test_view_of_a_shared_record_is_read_where_it_lies(program2: Path) -> None:
    found = read(
        manifest(program2, _meta(sizes=_as(2, 24), strides=_as(24, 1), storage_offset={"as_int": 24}))
    )
    weight = next(tensor.data for tensor in found.tensors if tensor.name == "fc.weight")
    np.testing.assert_array_equal(weight, arrays(network())["fc.weight"][1:3])


def test_compiled_code_is_a_finding(program2: Path) -> None:
    found = read(rewritten(program2, **{"m/data/aotinductor/model/kernel.so": b"\x7fELF"}))
    assert kinds(found) == ["foreign-callable"]
    assert "kernel.so" in found.findings[0].detail


@pytest.mark.parametrize("write", [export, old_export])
def test_pickle_of_example_inputs_is_read_for_what_it_would_call(tmp_path: Path, write: Any) -> None:
    path = write(network(), tmp_path / "m.pt2")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("archive/data.pkl", EVIL)
    end = "sample_inputs/model.pt" if write is export else "example_inputs.pt"
    found = read(rewritten(path, **{end: inner.getvalue()}))
    assert "foreign-callable" in kinds(found)
    assert "system" in found.findings[0].detail
    assert not Path("canary").exists()


def test_archive_that_two_loaders_take_for_their_own_is_hostile(program2: Path) -> None:
    with pytest.raises(HostileFile, match="at once"):
        read(rewritten(program2, **{"m/data.pkl": EVIL}))


def test_programs_without_weights_of_their_own_are_refused(program2: Path) -> None:
    whole = records(program2)
    config = next(name for name in whole if name.endswith("weights_config.json"))
    with pytest.raises(UnsupportedLayout, match="2 programs"):
        read(rewritten(program2, **{config.replace("model_w", "other_w"): whole[config]}))
    program2.write_bytes(export(network(), program2.with_name("again.pt2")).read_bytes())
    with pytest.raises(UnsupportedLayout, match="without weights"):
        read(rewritten(program2, **{"weights_config.json": None}))


# Distributed checkpoints


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return distributed(network(), tmp_path / "dcp")


def test_parts_of_a_tensor_are_put_together(tmp_path: Path) -> None:
    """As several ranks write it: the first rows of each matrix in one file, the rest in another."""
    path = sharded(tmp_path / "dcp")
    found = read(path)
    assert kinds(found) == ["ambiguous-order"]
    assert not found.ordered
    np.testing.assert_array_equal(found.tensors[0].data, np.arange(12, dtype="f4").reshape(4, 3))


def sharded(folder: Path, *, rows: int = 2, begins: int = 2) -> Path:
    """A checkpoint of one matrix (4, 3) in two files, the second from row `begins` and of `rows` rows."""
    from torch.distributed.checkpoint import filesystem, metadata

    folder.mkdir()
    whole = torch.arange(12.0).reshape(4, 3)
    places = {}
    for file, start, part in (("__0_0.distcp", 0, whole[:2]), ("__1_0.distcp", begins, whole[2 : 2 + rows])):
        torch.save(part.clone(), folder / file)
        size = (folder / file).stat().st_size
        places[metadata.MetadataIndex("w", torch.Size([start, 0]))] = filesystem._StorageInfo(file, 0, size)
    entry = metadata.TensorStorageMetadata(metadata.TensorProperties(torch.float32), torch.Size([4, 3]), [])
    held = metadata.Metadata({"w": entry}, None, places)
    (folder / ".metadata").write_bytes(pickle.dumps(held))
    return folder


@pytest.mark.parametrize("wrong", [{"rows": 1}, {"begins": 1}, {"begins": 3}])
def test_parts_that_do_not_tile_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UnsupportedLayout, match="piece"):
        read(sharded(tmp_path / "dcp", **wrong))


def test_digest_changes_with_every_part(folder: Path) -> None:
    first = read(folder)
    assert first.format == "torch-distributed"
    part = folder / "__0_0.distcp"
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    try:
        assert read(folder).sha256 != first.sha256
    except WeightfeatError:
        pytest.fail("the last bytes of a part are of no tensor")


def test_part_alone_and_table_alone_name_the_folder(folder: Path) -> None:
    for name in ("__0_0.distcp", ".metadata"):
        with pytest.raises(WeightfeatError) as caught:
            read(folder / name)
        assert "folder" in caught.value.remedy


def test_absent_or_linked_part(folder: Path, tmp_path: Path) -> None:
    part = folder / "__0_0.distcp"
    part.rename(tmp_path / "elsewhere")
    (folder / "__1_0.distcp").write_bytes(b"x")
    with pytest.raises(UnsupportedLayout, match="not beside"):
        read(folder)
    part.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostileFile, match="a link"):
        read(folder)


def test_path_that_leads_out_is_hostile(folder: Path) -> None:
    table = (folder / ".metadata").read_bytes()
    (folder / ".metadata").write_bytes(table.replace(b"__0_0.distcp", b"../../passwd"))
    with pytest.raises(HostileFile, match="out of its own folder"):
        read(folder)


def test_callable_in_the_table_is_named(folder: Path) -> None:
    (folder / ".metadata").write_bytes(EVIL)
    with pytest.raises(HostileFile, match="system"):
        read(folder)
    assert not Path("canary").exists()
