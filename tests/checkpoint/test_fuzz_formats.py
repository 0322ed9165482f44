"""Whatever the bytes of the newer formats, `read` ends in a Checkpoint or in one of the named errors, within bounds."""

from __future__ import annotations

import io
import shutil
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from format_files import EXACT, GRAPHS, network
from keras_files import conv, dense, write_keras_archive
from weightfeat.checkpoint import Checkpoint, read
from weightfeat.checkpoint.onnx_graph import is_onnx
from weightfeat.checkpoint.plain_text import fault_of
from weightfeat.checkpoint.protobuf import WireError, fields, packed_varints, varint
from weightfeat.errors import WeightfeatError

MOST_MEMORY = 96 << 20
LAYOUTS = (
    "torch.export",
    "torch.export before 2.8",
    "npz",
    "npz compressed",
    "tar.gz",
    "zip deflated",
    "bz2",
    "xz",
)
ZIPS = ("torch.export", "torch.export before 2.8", "npz", "zip deflated", "keras")

quick = settings(
    max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)

NAMES = st.text("abc.", min_size=1, max_size=8)


@cache
def valid(layout: str) -> bytes:
    """A sound file of the layout."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("model.npz" if "npz" in layout else "model")
        if layout == "keras":
            return write_keras_archive(path, [conv("a", 3, 3, 4), dense("out", 4, 3)]).read_bytes()
        return (EXACT | GRAPHS)[layout][1](network(), path).read_bytes()


def outcome(data: bytes) -> Checkpoint | WeightfeatError:
    """What reading gives; every tensor's values are touched."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return bounded(lambda: read(Path(file.name)))


def bounded(act: Callable[[], Checkpoint]) -> Checkpoint | WeightfeatError:
    tracemalloc.start()
    try:
        found = act()
        for tensor in found.tensors:
            tensor.data.tobytes()
        return found
    except WeightfeatError as error:
        return error
    finally:
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        tracemalloc.stop()


def mutated(whole: bytes, data: st.DataObject) -> bytes:
    """The bytes with a few changed, removed or put in."""
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(changed) - 1))
        kind = data.draw(st.sampled_from("xdis"))
        if kind == "x":
            changed[at] = data.draw(st.integers(0, 255))
        elif kind == "d":
            del changed[at : at + data.draw(st.integers(1, 40))]
        elif kind == "i":
            changed[at:at] = data.draw(st.binary(min_size=1, max_size=12))
        else:
            changed[at : at + 8] = data.draw(st.sampled_from((b"\xff" * 8, bytes(8), b"\x7f" * 8)))
        if not changed:
            return b"\0"
    return bytes(changed)


@quick
@given(st.sampled_from((*LAYOUTS, "onnx", "onnx of spelt values")), st.data())
def test_mutated(layout: str, data: st.DataObject) -> None:
    outcome(mutated(valid(layout), data))


@quick
@given(st.sampled_from(LAYOUTS), st.data())
def test_truncated(layout: str, data: st.DataObject) -> None:
    whole = valid(layout)
    assert isinstance(outcome(whole[: data.draw(st.integers(0, len(whole) - 1))]), WeightfeatError)


@quick
@given(st.sampled_from(ZIPS), st.data())
def test_mutated_record_of_a_sound_archive(layout: str, data: st.DataObject) -> None:
    """Checksums stay right, so that the readers behind the archive's see the change."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(valid(layout))) as source, zipfile.ZipFile(out, "w") as archive:
        names = source.namelist()
        chosen = data.draw(st.sampled_from(names))
        for name in names:
            content = source.read(name)
            archive.writestr(name, mutated(content, data) if name == chosen and content else content)
    outcome(out.getvalue())


@quick
@given(st.data())
def test_mutated_table_of_a_distributed_checkpoint(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dcp"
        shutil.copytree(_distributed(), path)
        chosen = data.draw(st.sampled_from([".metadata", "__0_0.distcp"]))
        (path / chosen).write_bytes(mutated((path / chosen).read_bytes(), data))
        bounded(lambda: read(path))


@cache
def _distributed() -> Path:
    folder = tempfile.mkdtemp(prefix="weightfeat-tests-")
    return EXACT["distributed"][1](network(), Path(folder) / "dcp")


@settings(quick, max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_fields_or_refused(data: bytes) -> None:
    """The fields of a message, written again, are the message: nothing is skipped or made up."""
    is_onnx(data, len(data))
    try:
        found = list(fields(memoryview(data), most=1000))
    except WireError:
        return
    sizes = sum(0 if isinstance(part.value, int) else len(part.value) for part in found)
    assert sizes <= len(data)
    assert len(found) <= len(data) / 2


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=40))
def test_packed_numbers_are_those_read_one_by_one(numbers: list[int]) -> None:
    raw = b"".join(_varint(number) for number in numbers)
    assert packed_varints(memoryview(raw)).tolist() == numbers
    at, one_by_one = 0, []
    while at < len(raw):
        value, at = varint(memoryview(raw), at)
        one_by_one.append(value)
    assert one_by_one == numbers


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


@settings(quick, max_examples=200)
@given(st.one_of(st.text(max_size=200).map(str.encode), st.binary(max_size=200)))
def test_any_beginning_has_one_line_at_most(head: bytes) -> None:
    fault = fault_of(head)
    assert fault is None or "\n" not in str(fault)


@quick
@given(st.dictionaries(NAMES, st.integers(0, 3), max_size=6))
def test_any_arrays_come_back_in_order(entries: dict[str, int]) -> None:
    held = {name: np.full((2,) * dimensions, dimensions, "f4") for name, dimensions in entries.items()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, value in held.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, value)
    found = outcome(out.getvalue())
    if isinstance(found, Checkpoint):
        assert [tensor.name for tensor in found.tensors] == list(held)
        for tensor in found.tensors:
            np.testing.assert_array_equal(tensor.data, held[tensor.name])
    else:
        assert (
            not held or len({name.lower() for name in held}) < len(held) or any(".." in name for name in held)
        )
