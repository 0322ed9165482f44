"""Files in which torch finds other weights than a careless reader: none passes for the network it shows.

Each is loaded by torch as well, to prove that the other weights are there.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from checkpoint_files import (
    call_of,
    dict_of,
    global_of,
    number,
    program,
    saved,
    sound_tensor,
    storage_of,
    text,
    tuple_of,
    with_pickle,
)
from weightfeat.checkpoint import read
from weightfeat.errors import HostileFile, UnsupportedLayout, WeightfeatError

SHOWN, HIDDEN = np.arange(4, dtype="<f4"), np.full(4, 9, dtype="<f4")
STORAGES = {"0": SHOWN.tobytes(), "1": HIDDEN.tobytes()}
shown, hidden = sound_tensor("0"), sound_tensor("1")
NONE = call_of("collections", "OrderedDict")


def filled(*items: bytes) -> bytes:
    """An OrderedDict that is given items one by one."""
    return NONE + b"(" + b"".join(items) + b"u"


def pairs(*items: bytes) -> bytes:
    return call_of("collections", "OrderedDict", b"](" + b"".join(items) + b"e")


def pair(key: str, value: bytes) -> bytes:
    return b"](" + text(key) + value + b"e"


def rebuilt(state: bytes) -> bytes:
    """A tensor of a subclass, with attributes."""
    arguments = tuple_of(
        storage_of("0", 4),
        number(0),
        tuple_of(number(2), number(2)),
        tuple_of(number(2), number(1)),
        b"\x89",
        NONE,
    )
    maker, kind = global_of("torch._utils", "_rebuild_tensor_v2"), global_of("torch", "Tensor")
    return call_of("torch._tensor", "_rebuild_from_type_v2", maker, kind, arguments, state)


# What torch.load gives for "w", with weights_only as said, are the hidden weights.
MAPPINGS: dict[str, tuple[bytes, bool]] = {
    "attributes of a parameter in an OrderedDict": (
        dict_of(
            {
                "w": call_of(
                    *("torch._utils", "_rebuild_parameter_with_state", shown, b"\x89", NONE),
                    filled(text("data"), hidden),
                )
            }
        ),
        True,
    ),
    "attributes of a tensor in an OrderedDict": (
        dict_of({"w": rebuilt(filled(text("data"), hidden))}),
        True,
    ),
    "a pair that is an OrderedDict": (
        pairs(pair("w", shown), filled(text("w"), b"N", hidden, b"N")),
        True,
    ),
    "a pair that is made": (
        pairs(pair("w", shown), call_of("builtins", "tuple", pair("w", hidden))),
        False,
    ),
    "a dict of pairs that are made": (
        call_of("builtins", "dict", call_of("builtins", "list", b"](" + pair("w", hidden) + b"e")),
        False,
    ),
    "a key that is made": (
        b"}(" + text("w") + shown + call_of("builtins", "str", text("w")) + hidden + b"u",
        False,
    ),
    "a write into a tensor of the same storage": (
        shown + b")" + hidden + b"s0" + dict_of({"w": shown}),
        False,
    ),
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_a_mapping_that_torch_reads_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    body, weights_only = MAPPINGS[name]
    path = with_pickle(tmp_path / "network.pt", program(body), STORAGES)
    assert (torch.load(path, weights_only=weights_only)["w"].numpy() == 9).all()
    with pytest.raises(WeightfeatError, match=r"writes into|no plain one|list of pairs|replace its values"):
        read(path)


def linear(tensor: bytes, after: bytes = b"") -> bytes:
    """nn.Linear(2, 2, bias=False), and what its pickle does to it afterwards."""
    return (
        global_of("torch.nn.modules.linear", "Linear") + b")\x81" + state(weight=tensor, after=after) + b"b"
    )


def sequential(children: dict[str, bytes], after: bytes = b"") -> bytes:
    made = global_of("torch.nn.modules.container", "Sequential")
    return made + b")\x81" + state(children=children, after=after) + b"b"


def state(*, weight: bytes = b"", children: dict[str, bytes] | None = None, after: bytes = b"") -> bytes:
    """The state of a module, with items `after` its usual ones."""
    hooks = [key for key, value in vars(nn.Identity()).items() if "hook" in key and value is not None]
    usual = {
        "training": b"\x89",
        "_parameters": dict_of({"weight": weight, "bias": b"N"}) if weight else b"}",
        "_buffers": b"}",
        "_non_persistent_buffers_set": call_of("builtins", "set", b"]"),
        "_is_full_backward_hook": b"N",
        **dict.fromkeys(hooks, b"}"),
        "_modules": dict_of(children or {}) if children else b"}",
    }
    return b"}(" + b"".join(text(key) + value for key, value in usual.items()) + after + b"u"


OTHERS = dict_of({"weight": hidden, "bias": b"N"})
MODULES: dict[str, bytes] = {
    "a state that is a list of pairs": sequential(
        {"0": linear(shown) + b"]](" + text("_parameters") + OTHERS + b"eab"}
    ),
    "a state that is an OrderedDict": sequential(
        {"0": linear(shown) + NONE + text("_parameters") + OTHERS + b"sb"}
    ),
    "a key of its state that is made": sequential(
        {"0": linear(shown, call_of("builtins", "str", text("_parameters")) + OTHERS)}
    ),
    "a child set as an item": sequential({"0": linear(shown)}) + b"K\x00" + linear(hidden) + b"s",
    "a child appended": sequential({"0": linear(shown)}) + b"(" + linear(hidden) + b"e",
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_torch_fills_otherwise_is_hostile(tmp_path: Path, name: str) -> None:
    path = with_pickle(tmp_path / "network.pt", program(MODULES[name]), STORAGES)
    loaded = torch.load(path, weights_only=False)
    assert (loaded[-1].weight == 9).all()
    with pytest.raises(HostileFile, match=r"no plain dict|writes into"):
        read(path)


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 5))


def test_an_attribute_that_hides_a_layer_is_hostile(tmp_path: Path) -> None:
    network, path = plain(), tmp_path / "network.pt"
    network.__dict__["3"] = nn.Linear(4, 5)
    torch.save(network, path)
    assert getattr(torch.load(path, weights_only=False), "3") is not network[3]
    with pytest.raises(HostileFile, match="before its entry"):
        read(path)


def kept(where: str, held: object) -> nn.Module:
    """A network whose last module keeps something outside its tables."""
    network = plain()
    if where == "forward":
        network[3].__dict__["forward"] = held
    elif where == "hook":
        network[3].register_forward_hook(held)
    else:
        network[3].kept = {"list": [held], "dict": {"w": held}, "far": [0] * 1000 + [{"w": (held,)}]}[where]
    return network


@pytest.mark.parametrize("where", ["forward", "list", "dict", "hook", "far"])
def test_weights_that_a_module_keeps_elsewhere_are_refused(tmp_path: Path, where: str) -> None:
    path = tmp_path / "network.pt"
    torch.save(kept(where, nn.Linear(5, 5)), path)
    name = {"forward": r"3\.forward", "hook": r"3\._forward_hooks"}.get(where, r"3\.kept")
    with pytest.raises(UnsupportedLayout, match=f"{name}' holds weights outside"):
        read(path)


@pytest.mark.parametrize("where", ["list", "dict", "far"])
def test_what_else_a_module_keeps_elsewhere_is_a_finding(tmp_path: Path, where: str) -> None:
    path = tmp_path / "network.pt"
    torch.save(kept(where, torch.ones(3)), path)
    (finding,) = [found for found in read(path).findings if found.kind == "outside-tables"]
    assert "3.kept" in finding.detail


@pytest.mark.parametrize("where", ["forward", "hook"])
def test_a_function_that_follows_or_replaces_a_forward_is_a_finding(tmp_path: Path, where: str) -> None:
    path = tmp_path / "network.pt"
    torch.save(kept(where, torch.relu), path)
    (finding,) = [found for found in read(path).findings if found.kind == "outside-tables"]
    assert {"forward": "3.forward", "hook": "3._forward_hooks"}[where] in finding.detail


def test_a_layer_that_a_list_holds_as_well_is_no_finding(tmp_path: Path) -> None:
    network, path = plain(), tmp_path / "network.pt"
    network[0].stages = [network[3], network[0]]
    torch.save(network, path)
    assert not read(path).findings


def test_a_plain_network_keeps_nothing_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save(nn.DataParallel(plain()), path)
    assert not read(path).findings


def legacy(body: bytes, keys: list[str], storages: list[np.ndarray]) -> bytes:
    """torch's old layout around a hand-written pickle."""
    parts = saved(0, _use_new_zipfile_serialization=False)
    head = parts[: parts.index(b"\x80\x02K\x00.")]
    listed = program(b"](" + b"".join(map(text, keys)) + b"e")
    content = b"".join(struct.pack("<q", len(one)) + one.tobytes() for one in storages)
    return head + program(body) + listed + content


def viewed(key: str, numel: int, view: bytes) -> bytes:
    kind = global_of("torch", "FloatStorage")
    storage = tuple_of(text("storage"), kind, text(key), text("cpu"), number(numel), view) + b"Q"
    shape, stride = tuple_of(number(2), number(2)), tuple_of(number(2), number(1))
    return call_of("torch._utils", "_rebuild_tensor_v2", storage, number(0), shape, stride, b"\x89", NONE)


def view(key: str, offset: int) -> bytes:
    return tuple_of(text(key), number(offset), number(4))


def test_a_view_under_the_name_of_another_is_hostile(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    twice = dict_of({"aux": viewed("0", 8, view("V", 4)), "w": viewed("0", 8, view("V", 0))})
    path.write_bytes(legacy(twice, ["0"], [np.concatenate([SHOWN, HIDDEN])]))
    assert (torch.load(path)["w"].numpy() == 9).all()
    with pytest.raises(HostileFile, match="declared twice"):
        read(path)
    storage = dict_of({"aux": viewed("1", 4, b"N"), "w": viewed("0", 4, view("1", 0))})
    path.write_bytes(legacy(storage, ["0", "1"], [SHOWN, HIDDEN]))
    assert (torch.load(path)["w"].numpy() == 9).all()
    with pytest.raises(HostileFile, match="names a storage and a view"):
        read(path)


SCRIPTING = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


class InPart(nn.Module):
    """A network whose head alone survives torch.jit.freeze by name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(width, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))  # type: ignore[no-any-return]


@SCRIPTING
def test_a_module_frozen_in_part_says_what_was_left_out(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    frozen = torch.jit.freeze(torch.jit.script(InPart(4).eval()), preserved_attrs=["fc"])
    torch.jit.save(frozen, path)
    with pytest.raises(UnsupportedLayout, match="constants"):
        read(path)


class InList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 5)
        self.held = [torch.randn(16, 16)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x @ self.held[0])  # type: ignore[no-any-return]


@SCRIPTING
def test_weights_in_a_scripted_modules_list_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.jit.save(torch.jit.script(InList().eval()), path)
    with pytest.raises(UnsupportedLayout, match="'held' holds weights outside"):
        read(path)
