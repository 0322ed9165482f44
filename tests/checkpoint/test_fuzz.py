"""Whatever the bytes, `read` ends in a Checkpoint or in one of the named errors, in bounded time and memory."""

from __future__ import annotations

import tempfile
import tracemalloc
import warnings
from functools import cache
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checkpoint_files import (
    FLAT,
    SCRIPTED,
    UNORDERED,
    WHOLE,
    dict_of,
    program,
    sound_tensor,
    vanishing_network,
)
from checkpoint_files import with_pickle as archive_around
from weightfeat.checkpoint import Checkpoint, read
from weightfeat.checkpoint.opcodes import OPERATIONS
from weightfeat.errors import WeightfeatError

LAYOUTS = (
    "zip protocol 4",
    "legacy",
    "bare pickle",
    "checkpoint",
    "torchscript",
    "safetensors",
    "legacy state_dict",
)
MOST_MEMORY = 64 << 20

quick = settings(max_examples=80, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@cache
def valid(layout: str) -> bytes:
    """A sound file of the layout."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, vanishing_network(Path(folder)) as network:
        path = Path(folder) / "model.bin"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            {**WHOLE, **FLAT, **SCRIPTED, **UNORDERED}[layout](network, path)
        return path.read_bytes()


def outcome(data: bytes) -> Checkpoint | WeightfeatError:
    """What reading gives; anything but the two is an error of the test's. Every tensor's values are touched."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        tracemalloc.start()
        try:
            found = read(Path(file.name))
            for tensor in found.tensors:
                assert tensor.data.size <= len(data)
                tensor.data.tobytes()
            return found
        except WeightfeatError as error:
            return error
        finally:
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
            tracemalloc.stop()


@quick
@given(st.sampled_from(LAYOUTS), st.data())
def test_truncated(layout: str, data: st.DataObject) -> None:
    whole = valid(layout)
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert isinstance(outcome(whole[:cut]), WeightfeatError)


@quick
@given(st.sampled_from(LAYOUTS), st.data())
def test_bytes_flipped(layout: str, data: st.DataObject) -> None:
    damaged = bytearray(valid(layout))
    # Most of a file is weights: aim at the ends, where headers, pickles and directories are.
    places = st.one_of(
        st.integers(0, len(damaged) - 1),
        st.integers(0, min(400, len(damaged) - 1)),
        st.integers(max(0, len(damaged) - 3000), len(damaged) - 1),
    )
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    outcome(bytes(damaged))


@quick
@given(st.sampled_from(LAYOUTS), st.data())
def test_stretches_cut_out_or_doubled(layout: str, data: st.DataObject) -> None:
    whole = valid(layout)
    start = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(1, 200))
    times = data.draw(st.sampled_from([0, 2, 3]))
    outcome(whole[:start] + whole[start : start + length] * times + whole[start + length :])


_INSTRUCTIONS = [bytes([code]) for code in OPERATIONS]
_PIECES = st.one_of(
    st.sampled_from(_INSTRUCTIONS),
    st.sampled_from(
        [
            b"cos\nsystem\n",
            b"ccollections\nOrderedDict\n",
            b"X\1\0\0\0w",
            b"}",
            b")",
            b"K\1",
            b"(",
            b"q\0",
            b"h\0",
        ]
    ),
    st.binary(max_size=4),
)


@quick
@given(st.lists(_PIECES, max_size=60))
def test_any_program_for_a_pickle(pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        body = program(b"".join(pieces), dict_of({"w": sound_tensor()}))
        path = archive_around(Path(folder) / "model.pt", body, {"0": bytes(16)})
        outcome(path.read_bytes())


@quick
@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for head in (
        b"",
        b"PK\3\4",
        b"\x80\x02",
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        b"\x10\0\0\0\0\0\0\0{",
    ):
        outcome(head + data)
