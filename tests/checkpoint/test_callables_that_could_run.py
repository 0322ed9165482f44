"""What torch.load, or Keras, could run is a finding by its name, in whatever way the file reaches it.

None of these files is loaded by torch here: their payloads would run. Each names a function that does nothing worse
than raise for its arguments.
"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from checkpoint_files import (
    SOUND_BYTES,
    call_of,
    dict_of,
    global_of,
    number,
    program,
    saved,
    sound_tensor,
    text,
    tuple_of,
    with_pickle,
)
from keras_files import config, conv, dense, write_keras_2
from weightfeat.checkpoint import Checkpoint, read
from weightfeat.errors import HostileFile

RUN = global_of("torch.utils.collect_env", "run")
COMMAND = text("canary")


def beside(payload: bytes) -> bytes:
    return dict_of({"w": sound_tensor(), "extra": payload})


def foreign(found: Checkpoint) -> str:
    return " | ".join(finding.detail for finding in found.findings if finding.kind == "foreign-callable")


def blob(raw: bytes) -> bytes:
    """BINBYTES."""
    return b"B" + struct.pack("<I", len(raw)) + raw


def new(module: str, name: str, *args: bytes) -> bytes:
    return global_of(module, name) + tuple_of(*args) + b"\x81"


def zipped(pickle: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/data.pkl", pickle)
        archive.writestr("a/version", b"3\n")
    return content.getvalue()


PARTIAL = call_of("functools", "partial", RUN) + tuple_of(RUN, tuple_of(COMMAND), b"}", b"N") + b"b"
OTHER_PARTIAL = (
    call_of("functools", "partial", global_of("torch", "Size"))
    + tuple_of(RUN, tuple_of(COMMAND), b"}", b"N")
    + b"b"
)
ASKED = {
    "numpy's generator calls its argument": (
        call_of("numpy.random._pickle", "__generator_ctor", COMMAND, RUN),
        "collect_env.run",
    ),
    "numpy's older state calls its argument": (
        call_of("numpy.random._pickle", "__randomstate_ctor", COMMAND, RUN),
        "collect_env.run",
    ),
    "a class that is given bytes for a state": (
        new("torch.utils.data.datapipes.datapipe", "_DataPipeSerializationWrapper")
        + tuple_of(blob(b"\x80\x02N."), b"\x89")
        + b"b",
        "_DataPipeSerializationWrapper",
    ),
    "a class that is given arguments": (new("numpy", "memmap", COMMAND, text("uint8")), "numpy.memmap"),
    "a class made with keywords": (
        global_of("somewhere", "Thing") + b")" + dict_of({"path": COMMAND}) + b"\x92",
        "somewhere.Thing",
    ),
    "a class made by copyreg with arguments": (
        call_of("copyreg", "__newobj__", global_of("numpy", "memmap"), COMMAND),
        "numpy.memmap",
    ),
    "a zip archive for a nested storage": (
        call_of("torch.storage", "_load_from_bytes", blob(zipped(program(b"N")))),
        "_load_from_bytes",
    ),
    "a bare pickle for a nested storage": (
        call_of("torch.storage", "_load_from_bytes", blob(program(b"N"))),
        "_load_from_bytes",
    ),
    "a factory that waits for a missing key": (
        call_of("collections", "defaultdict", PARTIAL),
        "collections.defaultdict",
    ),
    "a partial that is given another function": (OTHER_PARTIAL, "functools.partial"),
    "a module's attributes through a type tag": (
        call_of("torch.jit._pickle", "restore_type_tag", global_of("torch.nn", "functional"), text(""))
        + dict_of({"linear": RUN})
        + b"b",
        "torch.nn.functional given new attributes",
    ),
    "a function hidden as __setstate__": (
        new("types", "SimpleNamespace") + dict_of({"__setstate__": RUN}) + b"b" + COMMAND + b"b",
        "collect_env.run set as '__setstate__'",
    ),
    "a function hidden in slots": (
        new("somewhere", "Thing") + b"}" + dict_of({"__setstate__": RUN}) + b"\x86b",
        "collect_env.run set as '__setstate__'",
    ),
    "a function named by a persistent id": (
        new("types", "SimpleNamespace")
        + dict_of({"__setstate__": tuple_of(text("module"), RUN, text(""), text("")) + b"Q"})
        + b"b",
        "collect_env.run> set as '__setstate__'",
    ),
    "a tensor's class with a state of its own": (
        call_of(
            "torch._tensor",
            "_rebuild_from_type_v2",
            global_of("torch._utils", "_rebuild_tensor_v2"),
            global_of("somewhere", "Tensor"),
            b")",
            b"}",
        ),
        "_rebuild_from_type_v2",
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_callable_is_named(tmp_path: Path, name: str) -> None:
    payload, named = ASKED[name]
    data = b"\x80\x04" + beside(payload) + b"."
    found = read(with_pickle(tmp_path / "model.pt", data, {"0": SOUND_BYTES}))
    assert named in foreign(found)
    assert [tensor.name for tensor in found.tensors][:1] == ["w"]


REFUSED = {
    "a mapping made of an object with keys": call_of(
        "collections",
        "defaultdict",
        b"N",
        new("types", "SimpleNamespace") + dict_of({"keys": PARTIAL}) + b"b",
    ),
    "a dict made of one by copyreg": call_of(
        "copyreg",
        "_reconstructor",
        global_of("somewhere", "Dict"),
        global_of("builtins", "dict"),
        new("types", "SimpleNamespace") + dict_of({"keys": OTHER_PARTIAL}) + b"b",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_called_for_its_keys_is_refused(tmp_path: Path, name: str) -> None:
    path = with_pickle(tmp_path / "model.pt", program(beside(REFUSED[name])), {"0": SOUND_BYTES})
    with pytest.raises(HostileFile, match="SimpleNamespace"):
        read(path)


def test_a_refusal_names_a_callable_seen_before(tmp_path: Path) -> None:
    bad = call_of("os", "system", COMMAND) + b"0" + new("collections", "OrderedDict", dict_of({"a": b"N"}))
    with pytest.raises(HostileFile, match=r"os\.system called with"):
        read(with_pickle(tmp_path / "model.pt", program(bad)))


def test_what_training_scripts_leave_is_no_finding(tmp_path: Path) -> None:
    import functools
    from collections import Counter, defaultdict

    import numpy as np
    import torch

    debris = {
        "state": np.random.RandomState(0),
        "counts": Counter("abc"),
        "lists": defaultdict(list, a=[1]),
        "numbers": defaultdict(float),
        "layer": functools.partial(torch.nn.BatchNorm2d, eps=0.1),
        "version": torch.__version__,
        "state_dict": torch.nn.Linear(2, 2).state_dict(),
    }
    for protocol in (2, 4):
        path = tmp_path / "model.pt"
        path.write_bytes(saved(debris, pickle_protocol=protocol))
        assert not read(path).findings


@pytest.mark.parametrize("start", [b"", b"(dp0\nS'epoch'\np1\nI3\ns"])
def test_a_pickle_of_protocol_0_is_read_as_one(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(start + b"cos\nsystem\n(S'touch canary'\ntR.")
    with pytest.raises(HostileFile, match=r"os\.system called with \('touch canary'\)"):
        read(path)


def test_a_table_of_text_is_still_text(tmp_path: Path) -> None:
    path = tmp_path / "results.pt"
    path.write_bytes(b"class,name\n0,cat\n1,dog\n")
    with pytest.raises(Exception, match="text file"):
        read(path)


def test_another_pickle_in_the_archive_is_noted(tmp_path: Path) -> None:
    path = with_pickle(tmp_path / "model.pt", program(dict_of({"w": sound_tensor()})), {"0": SOUND_BYTES})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/other.pkl", program(call_of("os", "system", COMMAND)))
    (finding,) = read(path).findings
    assert "other.pkl" in finding.detail


LAYERS = [conv("first", 3, 3, 4), dense("output", 4, 5)]
DESCRIBED = {
    "a function of TensorFlow that writes": (
        {"class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}},
        "io.write_file",
    ),
    "Python given to TensorFlow": (
        {"class_name": "TFOpLambda", "config": {"name": "w", "function": "py_function"}},
        "py_function",
    ),
    "a path for a vocabulary": (
        {"class_name": "StringLookup", "config": {"name": "s", "vocabulary": "/some/where"}},
        "/some/where",
    ),
    "a download by Keras's own utilities": (
        {"class_name": "function", "module": "keras.utils", "config": "get_file"},
        "keras.utils.get_file",
    ),
    "the guard against code lifted": (
        {"class_name": "function", "module": "keras.config", "config": "enable_unsafe_deserialization"},
        "enable_unsafe_deserialization",
    ),
    "the same below Keras's sources": (
        {"class_name": "function", "module": "keras.src.saving.serialization_lib", "config": "x"},
        "serialization_lib",
    ),
    "a pickled module of torch": (
        {"class_name": "TorchModuleWrapper", "config": {"name": "t", "module": "UEsDBA=="}},
        "TorchModuleWrapper",
    ),
}


def described(entry: dict[str, object], path: Path) -> Path:
    configuration = config(LAYERS)
    activation = {"class_name": "Activation", "config": {"name": "a", "activation": entry}}
    configuration["config"]["layers"] += [entry, activation]
    return write_keras_2(path, LAYERS, configuration=configuration)


@pytest.mark.parametrize("name", DESCRIBED)
def test_what_keras_would_call_is_named(tmp_path: Path, name: str) -> None:
    entry, named = DESCRIBED[name]
    found = read(described(dict(entry), tmp_path / "model.h5"))
    assert named in foreign(found)
    assert len(found.tensors) == 4


@pytest.mark.parametrize("function", ["math.add", "nn.relu", "__operators__.add", "reshape", "image.resize"])
def test_what_keras_calls_in_ordinary_networks_is_no_finding(tmp_path: Path, function: str) -> None:
    entry = {"class_name": "TFOpLambda", "config": {"name": "tf", "function": function}}
    assert not read(described(dict(entry), tmp_path / "model.h5")).findings


def test_a_number_that_is_a_class_is_no_crash(tmp_path: Path) -> None:
    entry = {"class_name": 3, "module": ["keras"], "config": {"name": number(1).hex(), "vocabulary": 5}}
    assert not read(described(dict(entry), tmp_path / "model.h5")).findings
