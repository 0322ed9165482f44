"""What a pickle's constructors, writes and aliases mean is what torch makes of them, or the file is refused.

Every file is loaded by torch too, in a process of its own: where it finds the hidden values, we read them or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from checkpoint_files import (
    call_of,
    dict_of,
    global_of,
    number,
    program,
    rewrite,
    storage_of,
    tensor_of,
    text,
    tuple_of,
    with_pickle,
)
from torch_child import TorchChild, torch_child
from weightfeat.checkpoint import read
from weightfeat.errors import WeightfeatError

SHOWN = {"w": np.arange(6, dtype="<f4").reshape(2, 3), "b": np.ones(2, "<f4")}
HIDDEN = {"w": SHOWN["w"] * 7 + 5, "b": np.full(2, 9, "<f4")}
STORAGES = {
    **{f"s{name}": value.tobytes() for name, value in SHOWN.items()},
    **{f"h{name}": value.tobytes() for name, value in HIDDEN.items()},
}
EMPTY = call_of("collections", "OrderedDict")


@pytest.fixture(scope="module")
def child() -> Iterator[TorchChild]:
    with torch_child() as running:
        yield running


def tensor(key: str) -> bytes:
    return tensor_of(key, 6, (2, 3), (3, 1)) if key.endswith("w") else tensor_of(key, 2, (2,), (1,))


def entries(letter: str) -> dict[str, bytes]:
    return {name: tensor(letter + name) for name in SHOWN}


def given(items: dict[str, bytes]) -> bytes:
    """SETITEMS."""
    return b"(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def new(module: str, name: str, *args: bytes) -> bytes:
    return global_of(module, name) + tuple_of(*args) + b"\x81"


def made(maker: tuple[str, str], *args: bytes) -> bytes:
    """A mapping made of the shown tensors, then given the hidden ones."""
    return call_of(*maker, *args, dict_of(entries("s"))) + given(entries("h"))


def overwritten(alias: bytes, tail: bytes = b"") -> bytes:
    """The hidden values written through an alias of a shown tensor, the shown ones given out."""
    write = alias + b")" + tensor("hw") + b"s0"
    return write + EMPTY + given({**entries("s"), "b": tensor("hb")}) + tail


def untyped(key: str, name: str, dtype: str = "float32") -> bytes:
    """A tensor of the third kind of rebuild, over a storage of bytes."""
    value = HIDDEN[name]
    kind = global_of("torch.storage", "UntypedStorage")
    storage = tuple_of(text("storage"), kind, text(key), text("cpu"), number(value.nbytes)) + b"Q"
    shape = tuple_of(*map(number, value.shape))
    stride = tuple_of(*map(number, (3, 1)[-value.ndim :] if value.ndim == 2 else (1,)))
    dtype_of = global_of("torch", dtype)
    return call_of(
        "torch._utils", "_rebuild_tensor_v3", storage, number(0), shape, stride, b"\x89", EMPTY, dtype_of
    )


# Programs by name, with how torch loads them ("safe": weights_only), and whether they must be read.
PROGRAMS: dict[str, tuple[bytes, str, bool]] = {
    "a Counter given items": (made(("collections", "Counter")), "safe", True),
    "a defaultdict given items": (made(("collections", "defaultdict"), b"N"), "full", True),
    "a dict given items": (made(("builtins", "dict")), "full", True),
    "an OrderedDict made of one": (made(("collections", "OrderedDict")), "safe", True),
    "an OrderedDict made without its own __init__": (
        call_of(
            "copyreg",
            "_reconstructor",
            global_of("collections", "OrderedDict"),
            global_of("builtins", "dict"),
            dict_of(entries("s")),
        )
        + given(entries("h")),
        "full",
        False,
    ),
    "arguments that __new__ ignores": (
        new("collections", "OrderedDict", dict_of(entries("s"))) + given(entries("h")),
        "safe",
        False,
    ),
    "arguments that copyreg.__newobj__ hands to __new__": (
        call_of("copyreg", "__newobj__", global_of("collections", "OrderedDict"), dict_of(entries("s")))
        + given(entries("h")),
        "full",
        False,
    ),
    "keywords that __new__ ignores": (
        global_of("collections", "OrderedDict") + b")" + dict_of(entries("s")) + b"\x92" + given(entries("h")),
        "full",
        False,
    ),
    "a decoy among a mapping's attributes": (
        EMPTY + given(entries("h")) + dict_of({"_metadata": dict_of({"state_dict": dict_of(entries("s"))})}) + b"b",
        "safe",
        True,
    ),
    "a decoy of other names among a mapping's attributes": (
        EMPTY + given(entries("h")) + dict_of({"state_dict": dict_of(entries("s"))}) + b"b",
        "safe",
        True,
    ),
    "a value made by torch.Tensor": (
        EMPTY + given({"w": call_of("torch", "Tensor", tensor("hw")), "b": tensor("hb")}),
        "safe",
        False,
    ),
    "a value that is a new torch.Tensor": (
        EMPTY + given({"w": new("torch", "Tensor", tensor("hw")), "b": tensor("hb")}),
        "safe",
        False,
    ),
    "a value that is a new Parameter": (
        EMPTY + given({"w": new("torch.nn.parameter", "Parameter", tensor("hw"), b"\x89"), "b": tensor("hb")}),
        "safe",
        True,
    ),
    "a write through torch.Tensor": (overwritten(call_of("torch", "Tensor", tensor("sw"))), "full", False),
    "a write through a type tag": (
        overwritten(call_of("torch.jit._pickle", "restore_type_tag", tensor("sw"), text(""))),
        "full",
        False,
    ),
    "a write through a list of a type": (
        overwritten(call_of("torch.jit._pickle", "build_tensorlist", tensor("sw"))),
        "full",
        False,
    ),
    "a write through a new Parameter": (
        overwritten(new("torch.nn", "Parameter", tensor("sw"), b"\x89")),
        "full",
        False,
    ),
    "a write through a wrapper": (
        overwritten(call_of("torch._utils", "_rebuild_parameter", tensor("sw"), b"\x89", EMPTY)),
        "full",
        False,
    ),
    "a type tag around the mapping": (
        call_of("torch.jit._pickle", "restore_type_tag", dict_of(entries("h")), text("Dict[str, Tensor]")),
        "full",
        True,
    ),
    "a mapping changed through a type tag": (
        call_of("torch.jit._pickle", "restore_type_tag", dict_of(entries("s")), text("")) + given(entries("h")),
        "full",
        True,
    ),
    "an entry set twice": (EMPTY + given(entries("s")) + given(entries("h")), "safe", True),
    "a mapping changed after it was copied": (
        dict_of(entries("h")) + b"q\x07" + b"0" + call_of("collections", "OrderedDict", b"h\x07")
        + b"h\x07" + given(entries("s")) + b"0",
        "full",
        True,
    ),
    "a memo filled twice": (
        dict_of(entries("s")) + b"q\x030" + dict_of(entries("h")) + b"q\x030h\x03",
        "full",
        True,
    ),
    "True and one are one key": (
        dict_of(entries("h"))[:-1] + b"\x88" + tensor("sb") + b"K\x01" + tensor("hb") + b"u",
        "safe",
        True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_tensors_are_those_torch_finds_or_none(tmp_path: Path, child: TorchChild, name: str) -> None:
    body, mode, must_read = PROGRAMS[name]
    path = with_pickle(tmp_path / "network.pt", program(body), STORAGES)
    if b"\x92" in body:
        path = with_pickle(tmp_path / "network.pt", b"\x80\x04" + body + b".", STORAGES)
    (answer,) = child.ask([path], mode)
    assert answer.tensors is not None, answer.said
    assert answer.tensors["w"][2] == HIDDEN["w"].tobytes()
    try:
        found = read(path)
    except WeightfeatError:
        assert not must_read
        return
    ours = {tensor.name: tensor.data.tobytes() for tensor in found.tensors}
    assert must_read
    assert ours == {name: raw for name, (_, _, raw) in answer.tensors.items()}


def test_a_mapping_whose_method_is_hidden_by_an_attribute_is_refused(
    tmp_path: Path, child: TorchChild
) -> None:
    hidden = dict_of({"items": global_of("collections", "OrderedDict")}) + b"b"
    path = with_pickle(tmp_path / "network.pt", program(EMPTY, given(entries("h")), hidden), STORAGES)
    (answer,) = child.ask([path], "safe")
    assert answer.tensors == {}
    with pytest.raises(WeightfeatError, match="hide its methods"):
        read(path)


def test_a_write_that_torch_refuses_is_refused(tmp_path: Path, child: TorchChild) -> None:
    body = program(overwritten(call_of("torch", "Tensor", tensor("sw"))))
    path = with_pickle(tmp_path / "network.pt", body, STORAGES)
    (answer,) = child.ask([path], "safe")
    assert answer.tensors is None
    with pytest.raises(WeightfeatError, match="writes into"):
        read(path)


BIG = {
    "bytes are never turned round": (
        EMPTY + given({name: untyped(f"h{name}", name) for name in HIDDEN}),
        HIDDEN,
        "<f4",
    ),
    "numbers are": (EMPTY + given(entries("h")), HIDDEN, ">f4"),
}


@pytest.mark.parametrize("name", BIG)
def test_byte_order_goes_by_the_type_of_the_storage(tmp_path: Path, child: TorchChild, name: str) -> None:
    body, values, stored = BIG[name]
    contents = {f"archive/data/h{key}": value.astype(stored).tobytes() for key, value in values.items()}
    path = rewrite(
        tmp_path / "network.pt",
        {
            "archive/data.pkl": program(body),
            "archive/byteorder": b"big",
            **contents,
            "archive/version": b"3\n",
        },
    )
    (answer,) = child.ask([path], "safe")
    assert answer.tensors is not None, answer.said
    ours = {tensor.name: tensor.data.tobytes() for tensor in read(path).tensors}
    assert ours == {key: raw for key, (_, _, raw) in answer.tensors.items()}
    assert ours["w"] == HIDDEN["w"].tobytes()


def test_another_type_over_a_big_endian_storage_is_not_guessed(tmp_path: Path) -> None:
    shape, stride = tuple_of(number(2), number(2)), tuple_of(number(2), number(1))
    odd = call_of(
        "torch._utils", "_rebuild_tensor_v3", storage_of("hw", 6), number(0), shape, stride, b"\x89", EMPTY,
        global_of("torch", "int16"),
    )  # fmt: skip
    contents = {
        "archive/data.pkl": program(dict_of({"w": odd, "b": tensor("hb")})),
        "archive/byteorder": b"big",
    }
    contents |= {f"archive/data/{key}": raw for key, raw in STORAGES.items()}
    found = read(rewrite(tmp_path / "network.pt", contents))
    assert [tensor.name for tensor in found.tensors] == ["b"]
    assert any("storage" in finding.detail for finding in found.findings)


def test_a_storage_without_values_is_unreadable(tmp_path: Path) -> None:
    nothing = tensor("hw").replace(text("cpu"), text("meta"))
    path = with_pickle(tmp_path / "network.pt", program(dict_of({"w": nothing, "b": tensor("hb")})), STORAGES)
    assert [finding.kind for finding in read(path).findings] == ["unreadable-tensor"]


def test_tensors_in_an_object_of_an_unknown_class_are_not_guessed(tmp_path: Path) -> None:
    body = new("somewhere", "Mapping") + given(entries("h"))
    with pytest.raises(WeightfeatError, match=r"somewhere\.Mapping"):
        read(with_pickle(tmp_path / "network.pt", program(body), STORAGES))


@pytest.mark.parametrize("order", [("model", "ema"), ("ema", "model")])
def test_a_second_network_is_a_finding_with_its_place(tmp_path: Path, order: tuple[str, str]) -> None:
    first, second = order
    body = program(dict_of({first: dict_of(entries("s")), second: dict_of(entries("h"))}))
    found = read(with_pickle(tmp_path / "network.pt", body, STORAGES))
    note, finding = found.findings
    assert note.detail == "analysed is what is under 'model'; --key takes another part"
    assert finding.kind == "second-network"
    assert "2 tensors under 'ema'" in finding.detail


def test_a_network_at_the_top_beside_another_below_is_a_finding(tmp_path: Path) -> None:
    body = program(dict_of({**entries("h"), "state_dict": dict_of(entries("s"))}))
    finding = read(with_pickle(tmp_path / "network.pt", body, STORAGES)).findings[-1]
    assert finding.kind == "second-network"
    assert "at the top of the file" in finding.detail
