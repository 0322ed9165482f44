"""Pickles built to do harm: nothing in them runs, and what they would have run is in the findings.

Every payload would create a canary file or raise from an audit hook; neither may happen.
"""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
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
    storage_of,
    tensor_of,
    text,
    tuple_of,
    with_pickle,
)
from weightfeat.checkpoint import Checkpoint, read
from weightfeat.errors import HostileFile, UnreadableFile, UnsupportedLayout, WeightfeatError

_FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.",
    "exec",
    "compile",
    "import",
    "os.fork",
    "socket.",
)
_watched: list[str] | None = None


def _audit(event: str, args: tuple[object, ...]) -> None:
    if _watched is not None and event.startswith(_FORBIDDEN):
        _watched.append(f"{event} {args[:1]}")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file no test may bring into being."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "canary").exists()


def watched_read(path: Path) -> Checkpoint:
    """`read`, with Python's own record of what was run or imported in the meantime, which must be nothing."""
    global _watched
    _watched = []
    try:
        return read(path)
    finally:
        events, _watched = _watched, None
        assert not events


COMMAND = text("touch canary")


def analysed(folder: Path, *body: bytes) -> Checkpoint:
    return watched_read(with_pickle(folder / "model.pt", program(*body), {"0": SOUND_BYTES}))


def foreign(found: Checkpoint) -> str:
    return " | ".join(finding.detail for finding in found.findings if finding.kind == "foreign-callable")


def beside(payload: bytes) -> bytes:
    """A sound state_dict with the payload as another of its values."""
    return dict_of({"w": sound_tensor(), "extra": payload})


def newobj(module: str, name: str, state: bytes = b"}") -> bytes:
    return global_of(module, name) + b")\x81" + state + b"b"


INSTANCE = newobj("somewhere", "Thing")

CALLS = {
    "os.system": call_of("os", "system", COMMAND),
    "posix.system": call_of("posix", "system", COMMAND),
    "nt.system": call_of("nt", "system", COMMAND),
    "eval": call_of("builtins", "eval", text("open('canary', 'w')")),
    "eval of Python 2": call_of("__builtin__", "eval", text("open('canary', 'w')")),
    "exec": call_of("builtins", "exec", text("open('canary', 'w')")),
    "runpy": call_of("runpy", "_run_code", text("open('canary', 'w')"), b"}"),
    "subprocess": call_of("subprocess", "Popen", COMMAND),
    "commands of Python 2": call_of("commands", "getoutput", COMMAND),
    "open": call_of("builtins", "open", text("canary"), text("w")),
    "getattr": call_of("builtins", "getattr", global_of("os", "system"), text("__call__")),
    "import": call_of("builtins", "__import__", text("antigravity")),
    "torch.load": call_of("torch.serialization", "load", text("canary")),
    "torch.hub": call_of("torch.hub", "load", text("x/y"), text("z")),
    "graph module": call_of("torch.fx.graph_module", "reduce_graph_module", b"}", text("import canary")),
    "numpy runstring": call_of("numpy.testing._private.utils", "runstring", text("open('canary','w')"), b"}"),
    "subclass of a dangerous import (CVE-2025-10157)": call_of(
        "asyncio.unix_events", "_UnixSubprocessTransport._start", b"}", COMMAND
    ),
    "attribute path": b"\x80\x04" + text("torch.serialization") + text("os.system") + b"\x93" + COMMAND + b"\x85R",
    "rebuild that calls what it is given": call_of(
        "torch._tensor", "_rebuild_from_type_v2", global_of("os", "system"), b"N", tuple_of(COMMAND), b"N"
    ),
    "reconstructor": call_of("copyreg", "_reconstructor", global_of("x", "Y"), global_of("os", "system"), COMMAND),
    "partial, called": call_of("functools", "partial", global_of("os", "system"), COMMAND) + b")R",
    "codec": call_of("_codecs", "encode", text("x"), text("bz2")),
    "INST": b"(" + COMMAND + b"ios\nsystem\n",
    "OBJ": b"(" + global_of("os", "system") + COMMAND + b"o",
    "NEWOBJ": global_of("subprocess", "Popen") + tuple_of(COMMAND) + b"\x81",
    "NEWOBJ_EX": global_of("subprocess", "Popen") + b")}" + text("args") + COMMAND + b"s\x92",
    "NEWOBJ of type": global_of("builtins", "type") + tuple_of(text("X"), b")", b"}") + b"\x81",
    "EXT1": b"\x82\x01" + COMMAND + b"\x85R",
    "EXT2": b"\x83\x01\x00" + COMMAND + b"\x85R",
    "EXT4": b"\x84\x01\x00\x00\x00" + COMMAND + b"\x85R",
    "STACK_GLOBAL from the memo": b"".join(
        (text("os"), b"\x94", text("system"), b"\x94", b"00", b"h\x00h\x01\x93", COMMAND, b"\x85R")
    ),
    "setstate by attribute": newobj("somewhere", "Thing", dict_of({"__setstate__": global_of("os", "system")}))
    + COMMAND
    + b"b",
    "attributes of a module": global_of("torch.serialization", "load") + dict_of({"__code__": b"N"}) + b"b",
    "never called, but there": global_of("os", "system"),
    "the module itself": global_of("torch.serialization", "os"),
    "called, then dropped": call_of("os", "system", COMMAND) + b"0N",
    "hidden in a key": b"}" + tuple_of(call_of("os", "system", COMMAND)) + b"Ns",
    "hidden in a storage id": tuple_of(text("storage"), call_of("os", "system", COMMAND)) + b"Q",
    "hidden in a set": b"\x8f(" + call_of("os", "system", COMMAND) + b"\x90",
    "nested pickle": call_of(
        "torch.storage", "_load_from_bytes", (lambda raw: b"B" + struct.pack("<I", len(raw)) + raw)(
            program(call_of("os", "system", COMMAND))
        )
    ),
    "pickle.loads": call_of("pickle", "loads", b"C\x02N."),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_tensors_are_read_and_the_callable_is_reported(tmp_path: Path, name: str) -> None:
    found = analysed(tmp_path, beside(CALLS[name]))
    assert [tensor.name for tensor in found.tensors] == ["w"]
    assert found.tensors[0].data.tolist() == [[0, 1], [2, 3]]
    assert foreign(found)


def test_finding_names_the_function_and_its_argument_in_one_line(tmp_path: Path) -> None:
    found = analysed(tmp_path, beside(call_of("os", "system", text("touch canary\n" * 100))))
    assert foreign(found).startswith("os.system called with ('touch canary")
    assert "\n" not in foreign(found)
    assert len(foreign(found)) < 300


def test_whole_module_with_a_payload(tmp_path: Path) -> None:
    from torch import nn

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.system, ("touch canary",)

    network = nn.Sequential(nn.Linear(2, 2))
    network.payload = Payload()  # type: ignore[assignment]
    for legacy in (False, True):
        path = tmp_path / "model.pt"
        path.write_bytes(saved(network, _use_new_zipfile_serialization=not legacy))
        found = watched_read(path)
        assert [tensor.name for tensor in found.tensors] == ["0.weight", "0.bias"]
        assert "posix.system called with ('touch canary')" in foreign(found)


def test_parameter_made_by_a_foreign_function_is_unreadable(tmp_path: Path) -> None:
    found = analysed(tmp_path, dict_of({"w": sound_tensor(), "v": call_of("evil", "tensor", number(1))}))
    assert [finding.detail for finding in found.findings if finding.kind == "unreadable-tensor"]
    assert "evil.tensor" in foreign(found)


def test_pickle_that_breaks_off_after_its_call_is_hostile(tmp_path: Path) -> None:
    for tail in (b"", b"\xff", b"R", b"."):
        data = b"\x80\x02" + call_of("os", "system", COMMAND) + b"0" + tail
        with pytest.raises(HostileFile, match=r"os\.system"):
            watched_read(with_pickle(tmp_path / "model.pt", data))


def test_bare_pickle_of_an_attack_never_passes_for_a_model(tmp_path: Path) -> None:
    path = (
        tmp_path / "model.pkl.pt"
    )  # a pickle under a name scanners take for something else (CVE-2025-10155)
    path.write_bytes(program(call_of("os", "system", COMMAND)))
    with pytest.raises(HostileFile, match=r"os\.system called with"):
        watched_read(path)


def test_findings_are_bounded(tmp_path: Path) -> None:
    calls = b"".join(call_of("os", "system", number(index)) + b"0" for index in range(500))
    found = analysed(tmp_path, calls, dict_of({"w": sound_tensor()}))
    assert len(found.findings) == 51


def test_ordinary_training_debris_is_no_finding(tmp_path: Path) -> None:
    import argparse
    import datetime
    from collections import defaultdict

    import torch

    debris = {
        "args": argparse.Namespace(lr=0.1, path=Path("x")),
        "when": datetime.datetime(2020, 1, 2),
        "history": defaultdict(list, loss=[np.float32(0.1)]),
        "best": np.float64(1),
        "curve": np.arange(4),
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "size": torch.Size([1, 2]),
        "rng": np.random.RandomState(0).get_state(),
        "odd": {(1, 2): 3, 2.5: 1, b"x": 2},
        "state_dict": torch.nn.Linear(2, 2).state_dict(),
    }
    for protocol in (2, 5):
        path = tmp_path / "model.pt"
        path.write_bytes(saved(debris, pickle_protocol=protocol))
        assert not watched_read(path).findings


# Claims about tensors

GEOMETRIES = {
    "offset past the end": tensor_of("0", 4, (2,), (1,), offset=3),
    "size past the end": tensor_of("0", 4, (5,), (1,)),
    "expanded to a billion": tensor_of("0", 4, (2**30,), (0,)),
    "expanded to 2**40 elements (CVE-2025-32434's kin)": tensor_of("0", 4, (2**40,), (0,)),
    "negative stride": tensor_of("0", 4, (2,), (-1,), offset=1),
    "negative size": tensor_of("0", 4, (-2,), (1,)),
    "negative offset": tensor_of("0", 4, (2,), (1,), offset=-1),
    "huge stride": tensor_of("0", 4, (2,), (2**62,)),
    "sizes that overflow 64 bits": tensor_of("0", 4, (2**32, 2**32), (1, 1)),
    "empty but huge": tensor_of("0", 4, (2**40, 0), (1, 1)),
    "nine dimensions": tensor_of("0", 4, (1,) * 9, (1,) * 9),
    "fewer strides": tensor_of("0", 4, (2, 2), (1,)),
    "storage larger than its record": tensor_of("0", 2**38, (2,), (1,)),
    "storage smaller than its record": tensor_of("0", 3, (2,), (1,)),
    "storage of another type": tensor_of("0", 4, (2,), (1,), kind="QInt8Storage"),
    "storage that is not there": tensor_of("9", 4, (2,), (1,)),
    "storage outside the archive": tensor_of("../../canary", 4, (2,), (1,)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_impossible_tensor_is_reported_and_the_others_are_read(tmp_path: Path, name: str) -> None:
    sound = tensor_of("1", 4, (2, 2), (2, 1))
    data = program(dict_of({"bad": GEOMETRIES[name], "w": sound}))
    found = watched_read(with_pickle(tmp_path / "model.pt", data, {"0": SOUND_BYTES, "1": SOUND_BYTES}))
    assert [tensor.name for tensor in found.tensors] == ["w"]
    assert ["'bad'" in finding.detail for finding in found.findings] == [True]
    assert found.findings[0].kind == "unreadable-tensor"


def _rebuild(*args: bytes) -> bytes:
    return call_of("torch._utils", "_rebuild_tensor_v2", *args)


_SIZE = tuple_of(number(2))
_TAIL = (b"\x89", b"N")

TAMPERED = {
    "pointed at another storage later": sound_tensor() + tuple_of(number(0), number(1)) + b"b",
    "sizes in a list, which could change": _rebuild(storage_of("0", 4), number(0), b"](K\x02e", _SIZE, *_TAIL),
    "True for a size": _rebuild(storage_of("0", 4), number(0), b"\x88\x85", _SIZE, *_TAIL),
    "a float for a size": _rebuild(storage_of("0", 4), number(0), b"G" + struct.pack(">d", 2) + b"\x85", _SIZE, *_TAIL),
    "negated lazily": _rebuild(storage_of("0", 4), number(0), _SIZE, _SIZE, *_TAIL, dict_of({"neg": b"\x88"})),
    "a storage that is none": _rebuild(text("storage"), number(0), _SIZE, _SIZE, *_TAIL),
    "a persistent id of another shape": _rebuild(tuple_of(text("storage")) + b"Q", number(0), _SIZE, _SIZE, *_TAIL),
    "too few arguments": _rebuild(storage_of("0", 4)),
    "values replaced by an attribute": call_of(
        *("torch._utils", "_rebuild_parameter_with_state"),
        *(sound_tensor(), b"\x88", b"N", dict_of({"data": sound_tensor()})),
    ),
    "wrapped a thousand times": global_of("torch._utils", "_rebuild_parameter") * 1000
    + sound_tensor()
    + b"\x88N\x87R" * 1000,
    "sparse": call_of("torch._utils", "_rebuild_sparse_tensor", global_of("torch", "sparse_coo"), b")"),
    "quantized": call_of("torch._utils", "_rebuild_qtensor", storage_of("1", 4, "QInt8Storage"), number(0), _SIZE),
    "numpy": call_of("numpy.core.multiarray", "_reconstruct", global_of("numpy", "ndarray"), number(0), b"C\x01b"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_tensor_is_unreadable(tmp_path: Path, name: str) -> None:
    found = analysed(tmp_path, dict_of({"w": sound_tensor(), "bad": TAMPERED[name]}))
    assert [tensor.name for tensor in found.tensors] == ["w"]
    assert "unreadable-tensor" in {finding.kind for finding in found.findings}


def test_storage_declared_in_two_ways_is_hostile(tmp_path: Path) -> None:
    data = program(dict_of({"a": sound_tensor(), "b": tensor_of("0", 4, (4,), (1,), kind="IntStorage")}))
    with pytest.raises(HostileFile, match="declared twice"):
        watched_read(with_pickle(tmp_path / "model.pt", data, {"0": SOUND_BYTES}))


def test_no_readable_tensor_is_an_unsupported_layout(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedLayout, match="none of its tensors"):
        analysed(tmp_path, dict_of({"w": tensor_of("9", 4, (2,), (1,))}))
    with pytest.raises(UnsupportedLayout, match="no tensor"):
        analysed(tmp_path, dict_of({"w": number(1)}))


def test_storage_given_attributes_is_hostile(tmp_path: Path) -> None:
    swapped = storage_of("0", 4) + dict_of({"_untyped_storage": storage_of("1", 4)}) + b"b"
    with pytest.raises(HostileFile, match="swap"):
        analysed(tmp_path, dict_of({"w": sound_tensor(), "s": swapped}))


# Exhaustion

_BILLION_LAUGHS = b"]" + b"".join(b"q\x00](" + b"h\x00" * 10 + b"e" for _ in range(60))
_MODULE_TWICE = b"".join(
    b"q\x00"
    + newobj("x", "M", dict_of({"_parameters": b"}", "_modules": dict_of({"a": b"h\x00", "b": b"h\x00"})}))
    for _ in range(60)
)

EXHAUSTING = {
    "deep tuple as a key": b"}" + b")" + b"\x85" * 100_000 + b"Ns",
    "deep lists": b"]" * 100_000 + b"a" * 99_999,
    "deep tuples": b")" + b"\x85" * 100_000,
    "list in itself": b"]q\x00h\x00a",
    "dict in itself": b"}q\x00" + text("k") + b"h\x00s",
    "billion laughs": _BILLION_LAUGHS,
    "modules shared sixty times": b"N" + _MODULE_TWICE,
    "module in itself": newobj("x", "M", b"}q\x00" + text("_buffers") + b"}s" + text("_modules") + b"}s"),
    "LONG_BINPUT 0x7fffffff": b"Nr\xff\xff\xff\x7f",
    "integer of many digits": b"I" + b"9" * 5000 + b"\n",
    "LONG4 of two gigabytes": b"\x8b\xff\xff\xff\x7f",
    "BINBYTES8 of an exabyte": b"\x8e" + struct.pack("<Q", 2**60),
    "BINUNICODE8 of an exabyte": b"\x8d" + struct.pack("<Q", 2**60),
    "frame past the end": b"\x95" + struct.pack("<Q", 2**63),
    "three million instructions": b"N0" * 1_500_000,
    "copies by OrderedDict": b"]("
    + b"NN\x86" * 2000
    + b"eq\x00"
    + b"0ccollections\nOrderedDict\nh\x00\x85R" * 3000,
}


@pytest.mark.parametrize("name", EXHAUSTING)
def test_exhausting_pickle_ends_in_an_answer(tmp_path: Path, name: str) -> None:
    path = with_pickle(tmp_path / "model.pt", program(EXHAUSTING[name]))
    with pytest.raises(WeightfeatError):
        watched_read(path)


def test_cyclic_modules_are_hostile(tmp_path: Path) -> None:
    children = dict_of({"again": b"h\x00"})
    state = dict_of({"_parameters": dict_of({"w": sound_tensor()}), "_modules": children})
    with pytest.raises(HostileFile, match=r"nested|characters"):
        analysed(tmp_path, global_of("x", "M") + b")\x81q\x00" + state + b"b")


def test_names_of_absurd_length_are_hostile(tmp_path: Path) -> None:
    with pytest.raises(HostileFile, match="characters"):
        analysed(tmp_path, dict_of({"w" * 100_000: sound_tensor()}))


MALFORMED = {
    "empty": b"",
    "protocol 9": b"\x80\x09N.",
    "no STOP": b"\x80\x02N",
    "nothing on the stack": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "mark in the way": b"\x80\x02N(0.",
    "unknown memo": b"\x80\x02h\x05.",
    "unknown instruction": b"\x80\x02\xfe.",
    "import of a number": b"\x80\x04K\x01K\x02\x93.",
    "arguments that are no tuple": b"\x80\x02" + global_of("a", "b") + b"NR.",
    "key without value": b"\x80\x02}(Nu.",
    "append to None": b"\x80\x02NNa.",
    "state for None": b"\x80\x02N}K\x01K\x02sb.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "quotes": b"\x80\x02S'abc\n.",
    "number": b"\x80\x02Iabc\n.",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_pickle_is_unreadable(tmp_path: Path, name: str) -> None:
    data = MALFORMED[name]
    with pytest.raises((UnreadableFile, UnsupportedLayout)):
        watched_read(with_pickle(tmp_path / "model.pt", data))


_REAL_ERRORS = (EOFError, ValueError, TypeError, IndexError, AttributeError, KeyError)


def test_malformed_pickles_are_those_the_real_machine_refuses_too() -> None:
    class Machine(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            return dict

    import io

    for name, data in MALFORMED.items():
        if name == "mark in the way":
            continue  # a lone None is a fine pickle
        try:
            Machine(io.BytesIO(data)).load()
        except (pickle.UnpicklingError, *_REAL_ERRORS):
            continue
        pytest.fail(name)


# What is changed after it was used: the weights we see must be those the real machine would have made


def test_state_changed_after_build_has_no_effect(tmp_path: Path) -> None:
    first, second = dict_of({"w": sound_tensor("0")}), dict_of({"w": sound_tensor("1")})
    state = dict_of({"_parameters": first, "_modules": b"}"}) + b"q\x01"
    late = b"h\x01" + text("_parameters") + second + b"s0"
    data = program(global_of("x", "M"), b")\x81", state, b"b", late)
    found = read(with_pickle(tmp_path / "model.pt", data, {"0": SOUND_BYTES, "1": bytes(16)}))
    assert found.tensors[0].data.tobytes() == SOUND_BYTES


def test_pairs_changed_after_ordereddict_have_no_effect(tmp_path: Path) -> None:
    pair = b"](" + text("w") + sound_tensor() + b"e"
    late = b"h\x01](" + text("v") + sound_tensor() + b"ea0"
    data = program(global_of("collections", "OrderedDict"), b"]q\x01", pair, b"a\x85R", late)
    found = read(with_pickle(tmp_path / "model.pt", data, {"0": SOUND_BYTES}))
    assert [tensor.name for tensor in found.tensors] == ["w"]


def test_second_state_wins_as_update_does(tmp_path: Path) -> None:
    states = [
        dict_of({"_parameters": dict_of({"w": sound_tensor(key)}), "_modules": b"}"}) + b"b" for key in "01"
    ]
    data = program(global_of("x", "M"), b")\x81", *states)
    found = read(with_pickle(tmp_path / "model.pt", data, {"0": bytes(16), "1": SOUND_BYTES}))
    assert found.tensors[0].data.tobytes() == SOUND_BYTES


def test_long_names_below_deep_modules_are_hostile(tmp_path: Path) -> None:
    leaf = newobj("x", "M", dict_of({"_parameters": dict_of({"w": sound_tensor()}), "_modules": b"}"}))
    for _ in range(10):
        leaf = newobj("x", "M", dict_of({"_parameters": b"}", "_modules": dict_of({"m" * 100: leaf})}))
    with pytest.raises(HostileFile, match="characters"):
        analysed(tmp_path, leaf)
