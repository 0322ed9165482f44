"""Random pickle programs: where torch's own loader gives tensors, we give the same ones or refuse, and the other way.

Each flavour below is a property of its own: programs of sound pieces with one kind of oddity woven in. torch loads
every program with weights_only=True, and those it refuses there without, in a process of its own; nothing in a flavour
calls anything but what builds tensors, dicts, lists and tuples.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from checkpoint_files import call_of, global_of, number, rewrite, storage_of, text, tuple_of
from torch_child import TorchChild, torch_child
from weightfeat.checkpoint import read
from weightfeat.errors import WeightfeatError

PROGRAMS = 6
"""Programs a flavour."""

ELEMENTS = 12
STORAGES = {
    str(key): np.random.default_rng(key).standard_normal(ELEMENTS).astype("<f4").tobytes() for key in range(4)
}
ODICT = call_of("collections", "OrderedDict")
Piece = Callable[[random.Random], bytes]


@pytest.fixture(scope="module")
def child() -> Iterator[TorchChild]:
    with torch_child() as running:
        yield running


def storage(chance: random.Random) -> bytes:
    return storage_of(str(chance.randrange(4)), ELEMENTS)


def geometry(chance: random.Random) -> tuple[int, list[int], list[int]]:
    shape = [chance.randint(1, 3) for _ in range(chance.randint(1, 3))]
    strides = [chance.choice([0, 1, 2, 3, 4, 6]) for _ in shape]
    return chance.choice([0, 0, 1, 2, 5]), shape, strides


def rebuilt(chance: random.Random, *, plain: bool = True, metadata: bytes = b"", which: bytes = b"") -> bytes:
    """A tensor over one of the storages: in row-major order, or with any strides that may fit."""
    if plain:
        columns = chance.randint(1, 4)
        offset, shape, strides = chance.randrange(3), [chance.randint(1, 2), columns], [columns, 1]
    else:
        offset, shape, strides = geometry(chance)
    arguments = (
        which or storage(chance),
        number(offset),
        tuple_of(*map(number, shape)),
        tuple_of(*map(number, strides)),
        b"\x89",
        ODICT,
    )
    return call_of("torch._utils", "_rebuild_tensor_v2", *arguments, *([metadata] if metadata else []))


def items(chance: random.Random, value: Piece, count: int | None = None) -> bytes:
    """SETITEMS of a few names, which may come twice."""
    many = chance.randint(1, 4) if count is None else count
    return b"(" + b"".join(text(f"t{chance.randrange(4)}.weight") + value(chance) for _ in range(many)) + b"u"


def sound(chance: random.Random) -> bytes:
    return rebuilt(chance)


def strided(chance: random.Random) -> bytes:
    return rebuilt(chance, plain=False)


def parameter(chance: random.Random) -> bytes:
    return call_of(
        "torch._utils", "_rebuild_parameter", sound(chance), chance.choice([b"\x88", b"\x89"]), ODICT
    )


def parameter_with_state(chance: random.Random) -> bytes:
    state = chance.choice(
        [b"}", b"}" + text("data") + sound(chance) + b"s", b"}" + text("note") + b"K\x01s", b"N"]
    )
    return call_of("torch._utils", "_rebuild_parameter_with_state", sound(chance), b"\x89", ODICT, state)


def new_parameter(chance: random.Random) -> bytes:
    return global_of("torch.nn.parameter", "Parameter") + tuple_of(sound(chance), b"\x89") + b"\x81"


def called_parameter(chance: random.Random) -> bytes:
    return call_of("torch.nn.parameter", "Parameter", sound(chance), b"\x89")


def called_tensor(chance: random.Random) -> bytes:
    return call_of("torch", "Tensor", sound(chance))


def new_tensor(chance: random.Random) -> bytes:
    return global_of("torch", "Tensor") + b"(" + sound(chance) + b"t\x81"


def of_a_type(chance: random.Random) -> bytes:
    arguments = tuple_of(storage(chance), number(0), tuple_of(number(3)), tuple_of(number(2)), b"\x89", ODICT)
    maker, kind = global_of("torch._utils", "_rebuild_tensor_v2"), global_of("torch", "Tensor")
    state = chance.choice([b"}", b"N", b"}" + text("data") + sound(chance) + b"s"])
    return call_of("torch._tensor", "_rebuild_from_type_v2", maker, kind, arguments, state)


def third_kind(chance: random.Random) -> bytes:
    dtype = chance.choice(["float32", "float64", "int16", "uint8", "int64", "float16", "bfloat16"])
    parts = (
        storage(chance),
        number(chance.randrange(2)),
        tuple_of(number(3)),
        tuple_of(number(1)),
        b"\x89",
        ODICT,
    )
    return call_of("torch._utils", "_rebuild_tensor_v3", *parts, global_of("torch", dtype))


def oldest_kind(chance: random.Random) -> bytes:
    return call_of(
        "torch._utils",
        "_rebuild_tensor",
        storage(chance),
        number(1),
        tuple_of(number(4)),
        tuple_of(number(2)),
    )


def other_type(chance: random.Random) -> bytes:
    kind = chance.choice(["DoubleStorage", "HalfStorage", "ByteStorage", "LongStorage", "CharStorage"])
    size = {"DoubleStorage": 8, "LongStorage": 8, "HalfStorage": 2}.get(kind, 1)
    key = str(chance.randrange(4))
    return rebuilt(chance, which=storage_of(key, ELEMENTS * 4 // size, kind))


def with_metadata(chance: random.Random) -> bytes:
    flag = chance.choice([b"}", b"N", b"}" + text("neg") + b"\x88s", b"}" + text("conj") + b"\x89s"])
    return rebuilt(chance, metadata=flag)


def set_again(chance: random.Random) -> bytes:
    """A tensor that is pointed at another place by BUILD."""
    there = tuple_of(storage(chance), number(0), tuple_of(number(2)), tuple_of(number(1)))
    return sound(chance) + there + b"b"


def elsewhere(chance: random.Random) -> bytes:
    location = chance.choice(["cpu", "cuda:0", "meta", "nowhere"])
    return sound(chance).replace(text("cpu"), text(location))


def no_tensor(chance: random.Random) -> bytes:
    return chance.choice(
        [b"N", b"K\x05", text("x"), b"]", b"}", b")", b"\x88", call_of("torch", "Size", b"]")]
    )


def any_value(chance: random.Random) -> bytes:
    return chance.choice([sound, strided, parameter, new_parameter, third_kind, oldest_kind, no_tensor])(
        chance
    )


def flat(value: Piece, start: Callable[[random.Random], bytes] = lambda chance: ODICT) -> Piece:
    return lambda chance: start(chance) + items(chance, sound, 2) + items(chance, value)


def counter(chance: random.Random) -> bytes:
    return call_of("collections", "Counter", b"}" + items(chance, sound))


def of_pairs(chance: random.Random) -> bytes:
    pairs = b"".join(
        chance.choice([b"(%b%bt", b"](%b%be"]) % (text(f"p{chance.randrange(3)}"), sound(chance))
        for _ in range(3)
    )
    return call_of("collections", "OrderedDict", b"](" + pairs + b"e")


def of_a_dict(chance: random.Random) -> bytes:
    return call_of("collections", "OrderedDict", b"}" + items(chance, sound))


def new_with_arguments(chance: random.Random) -> bytes:
    return global_of("collections", "OrderedDict") + tuple_of(b"}" + items(chance, sound)) + b"\x81"


def new_mapping(chance: random.Random) -> bytes:
    kind = chance.choice(["OrderedDict", "Counter"])
    return global_of("collections", kind) + b")\x81"


def plain_dict(chance: random.Random) -> bytes:
    return b"}"


def with_attributes(chance: random.Random) -> bytes:
    name = chance.choice(["_metadata", "state_dict", "model", "items", "keys", "__class__", "update"])
    return flat(sound)(chance) + b"}" + text(name) + b"}" + items(chance, sound) + b"sb"


def odd_keys(chance: random.Random) -> bytes:
    keys = [b"K\x01", b"\x88", b"N", text("t0.weight"), b"G" + struct.pack(">d", 1.0)]
    odd = b"".join(chance.choice(keys) + sound(chance) for _ in range(4))
    return flat(sound)(chance) + b"(" + odd + b"u"


def remembered(chance: random.Random) -> bytes:
    """Tensors put under memo numbers, recalled, and numbers that are given again."""
    stored = b"".join(sound(chance) + b"q" + bytes([chance.randrange(3)]) + b"\x85" for _ in range(4))
    recalled = b"".join(text(f"m{at}") + b"h" + bytes([chance.randrange(4)]) for at in range(3))
    # What was stored is kept in a list below the mapping, as weights_only knows no POP.
    return b"(" + stored + b"t\x85" + ODICT + b"(" + recalled + b"u\x86"


def shared_mapping(chance: random.Random) -> bytes:
    """One mapping under two names, changed after the first."""
    return (
        b"}q\x01" + items(chance, sound) + text("model") + b"}q\x02" + items(chance, sound)
        + b"s" + text("again") + b"h\x02" + items(chance, sound) + b"s"
    )  # fmt: skip


def nested(chance: random.Random) -> bytes:
    inside = ODICT + items(chance, any_value, 3)
    return (
        b"}("
        + text("epoch")
        + b"K\x03"
        + text("state_dict")
        + inside
        + text("args")
        + no_tensor(chance)
        + b"u"
    )


def appended(chance: random.Random) -> bytes:
    return (
        b"}"
        + text("state_dict")
        + flat(sound)(chance)
        + b"s"
        + text("list")
        + b"]("
        + sound(chance)
        + b"e"
        + b"s"
    )


def item_in_tensor(chance: random.Random) -> bytes:
    return ODICT + text("t") + sound(chance) + b"(K\x00K\x01u" + b"s"


def item_in_parameter(chance: random.Random) -> bytes:
    return ODICT + text("t") + new_parameter(chance) + b"(K\x00K\x01u" + b"s"


def append_to_other(chance: random.Random) -> bytes:
    return flat(sound)(chance) + b"(" + sound(chance) + b"e"


def build_on_other(chance: random.Random) -> bytes:
    return flat(sound, lambda chance: counter(chance))(chance) + chance.choice(
        [b"}b", b"}" + text("a") + b"Nsb", b"Nb"]
    )


def state_of_pairs(chance: random.Random) -> bytes:
    return flat(sound)(chance) + b"](" + tuple_of(text("_metadata"), b"}") + b"eb"


def odd_numbers(chance: random.Random) -> bytes:
    size = chance.choice([b"\x88", number(2), number(-1), number(2**40), b"G" + struct.pack(">d", 2.0), b"N"])
    parts = (storage(chance), number(0), tuple_of(size), tuple_of(number(1)), b"\x89", ODICT)
    return (
        ODICT
        + text("t")
        + sound(chance)
        + b"s"
        + text("u")
        + call_of("torch._utils", "_rebuild_tensor_v2", *parts)
        + b"s"
    )


def sizes_of_a_type(chance: random.Random) -> bytes:
    sizes = call_of("torch", "Size", tuple_of(b"K\x02", b"K\x03"))
    parts = (storage(chance), number(0), sizes, tuple_of(number(3), number(1)), b"\x89", ODICT)
    return ODICT + text("t") + call_of("torch._utils", "_rebuild_tensor_v2", *parts) + b"s"


def sizes_in_a_list(chance: random.Random) -> bytes:
    parts = (storage(chance), number(0), b"](K\x02e", b"](K\x01e", b"\x89", ODICT)
    return flat(sound)(chance) + text("t") + call_of("torch._utils", "_rebuild_tensor_v2", *parts) + b"s"


def odd_storages(chance: random.Random) -> bytes:
    pid = chance.choice(
        [
            tuple_of(text("storage"), global_of("torch", "FloatStorage"), text("0"), text("cpu")),
            tuple_of(text("storage"), global_of("torch", "FloatStorage"), text("9"), text("cpu"), number(12)),
            tuple_of(text("storage"), global_of("torch", "FloatStorage"), number(0), text("cpu"), number(12)),
            tuple_of(
                text("storage"),
                global_of("torch.storage", "UntypedStorage"),
                text("0"),
                text("cpu"),
                number(48),
            ),
            tuple_of(text("storage"), global_of("torch", "FloatStorage"), text("0"), text("cpu"), number(11)),
            tuple_of(text("other"), global_of("torch", "FloatStorage"), text("0"), text("cpu"), number(12)),
        ]
    )
    return ODICT + text("t") + rebuilt(chance, which=pid + b"Q") + b"s" + items(chance, sound, 1)


def declared_twice(chance: random.Random) -> bytes:
    first = rebuilt(chance, which=storage_of("0", ELEMENTS))
    second = rebuilt(
        chance,
        which=storage_of(
            "0", *chance.choice([(12, "IntStorage"), (6, "DoubleStorage"), (12, "FloatStorage")])
        ),
    )
    return ODICT + b"(" + text("a") + first + text("b") + second + b"u"


def big_endian(chance: random.Random) -> bytes:
    return flat(chance.choice([sound, third_kind, other_type]))(chance)


def copied_then_changed(chance: random.Random) -> bytes:
    source = b"}q\x05" + items(chance, sound, 3)
    return b"}(" + text("source") + source + text("state_dict") + call_of("collections", "OrderedDict", b"h\x05") + (
        text("later") + b"h\x05" + items(chance, sound, 2) + b"u"
    )  # fmt: skip


FLAVOURS: dict[str, tuple[Piece, bool]] = {
    "plain tensors": (flat(sound), True),
    "a plain dict": (flat(sound, plain_dict), True),
    "any strides": (flat(strided), False),
    "parameters": (flat(parameter), True),
    "parameters with a state": (flat(parameter_with_state), False),
    "new parameters": (flat(new_parameter), True),
    "called parameters": (flat(called_parameter), True),
    "called torch.Tensor": (flat(called_tensor), False),
    "new torch.Tensor": (flat(new_tensor), False),
    "tensors of a type": (flat(of_a_type), False),
    "the third kind of rebuild": (flat(third_kind), True),
    "the oldest kind of rebuild": (flat(oldest_kind), True),
    "storages of other types": (flat(other_type), False),
    "metadata": (flat(with_metadata), False),
    "tensors pointed elsewhere": (flat(set_again), False),
    "other devices": (flat(elsewhere), False),
    "values that are no tensors": (flat(no_tensor), True),
    "any values": (flat(any_value), False),
    "a Counter": (flat(sound, counter), True),
    "an OrderedDict of pairs": (flat(sound, of_pairs), True),
    "an OrderedDict of a dict": (flat(sound, of_a_dict), True),
    "new with arguments": (flat(sound, new_with_arguments), False),
    "new mappings": (flat(sound, new_mapping), True),
    "attributes of a mapping": (with_attributes, False),
    "odd keys": (odd_keys, False),
    "nested": (nested, True),
    "lists beside": (appended, True),
    "an item in a tensor": (item_in_tensor, False),
    "an item in a parameter": (item_in_parameter, False),
    "appended to a mapping": (append_to_other, False),
    "state of another mapping": (build_on_other, False),
    "state of pairs": (state_of_pairs, False),
    "odd numbers": (odd_numbers, False),
    "sizes of torch's type": (sizes_of_a_type, True),
    "sizes in a list": (sizes_in_a_list, False),
    "odd storages": (odd_storages, False),
    "storages declared twice": (declared_twice, False),
    "big-endian": (big_endian, False),
    "copied, then changed": (copied_then_changed, True),
}


def written(path: Path, body: bytes, flavour: str) -> Path:
    contents = {"archive/data.pkl": b"\x80\x02" + body + b".", "archive/version": b"3\n"}
    if flavour == "big-endian":
        contents["archive/byteorder"] = b"big"
    contents |= {f"archive/data/{key}": raw for key, raw in STORAGES.items()}
    return rewrite(path, contents)


def ours(path: Path) -> dict[str, bytes] | None:
    """The tensors read, None for a refusal; a file of which a tensor could not be read is as good as refused."""
    try:
        found = read(path)
    except WeightfeatError:
        return None
    if any(finding.kind == "unreadable-tensor" for finding in found.findings):
        return None
    return {tensor.name: tensor.data.tobytes() for tensor in found.tensors}


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_torch_and_we_find_the_same_tensors(tmp_path: Path, child: TorchChild, flavour: str) -> None:
    make, must_read = FLAVOURS[flavour]
    bodies = [make(random.Random(f"{flavour} {seed}")) for seed in range(PROGRAMS)]
    paths = [written(tmp_path / f"{seed}.pt", body, flavour) for seed, body in enumerate(bodies)]
    answers = child.ask(paths, "nested safe")
    refused = [place for place, answer in enumerate(answers) if answer.tensors is None]
    for place, answer in zip(
        refused, child.ask([paths[place] for place in refused], "nested full"), strict=True
    ):
        answers[place] = answer
    read_by_both = 0
    for path, answer in zip(paths, answers, strict=True):
        found = ours(path)
        if found is None:
            assert not (must_read and answer.tensors), path
            continue
        if (
            answer.tensors is None
        ):  # whatever was made and then overwritten is refused by torch, and not missed by us
            assert not must_read, answer.said
            continue
        assert found == {name: raw for name, (_, _, raw) in answer.tensors.items()}
        read_by_both += 1
    assert read_by_both or not must_read
