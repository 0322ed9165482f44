"""Files of other kinds that turn up under a model's name: each said in words, with what to do where there is a way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from weightfeat.checkpoint import plain_text
from weightfeat.checkpoint.faults import Abuse, Malformed, Unsupported
from weightfeat.checkpoint.protobuf import WireError, fields

_CONVERTED = "which is not read: give the network it was converted from"
_UNPACK = "decompress it first"
_AS_ARRAYS = "which is not read: save the weights as .npz or .safetensors"

# (place, bytes there, what the file is).
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x05\x06", "it is an empty archive"),
    (0, b"\x28\xb5\x2f\xfd", f"it is zstd-compressed: {_UNPACK}"),
    (0, b"\x04\x22\x4d\x18", f"it is lz4-compressed: {_UNPACK}"),
    (0, b"\x1f\x9d", f"it is compressed by compress (.Z): {_UNPACK}"),
    (0, b"LZIP", f"it is lzip-compressed: {_UNPACK}"),
    (0, b"\x5d\0\0", f"it is lzma-compressed: {_UNPACK}"),
    (0, b"7z\xbc\xaf\x27\x1c", f"it is a 7z archive: {_UNPACK}"),
    (0, b"Rar!\x1a\x07", f"it is a rar archive: {_UNPACK}"),
    (4, b"TFL3", f"it is a TensorFlow Lite network, {_CONVERTED}"),
    (4, b"ET1", f"it is an ExecuTorch program, {_CONVERTED}"),
    (0, b"GGUF", "it is a GGUF file, which holds language models and is not read"),
    (0, b"lmgg", "it is a GGML file, which holds language models and is not read"),
    (0, b"tjgg", "it is a GGML file, which holds language models and is not read"),
    (0, b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", f"it is a Lua Torch 7 file, {_CONVERTED}"),
    (0, b"\x12\x01\0\0\0\0\0\0", f"it is an MXNet parameter file, {_CONVERTED}"),
    (0, b"RDX", f"it is an R data file (rds), {_AS_ARRAYS}"),
    (
        0,
        b"X\n\0\0\0",
        "it is an R data file (rds), which is not read: save the weights as .npz or .safetensors",
    ),
    (0, b"MATLAB ", f"it is a MATLAB file, {_AS_ARRAYS}"),
    (0, b"\x89PNG", "it is a PNG image, not a model"),
    (0, b"\xff\xd8\xff", "it is a JPEG image, not a model"),
    (0, b"GIF8", "it is a GIF image, not a model"),
    (0, b"%PDF", "it is a PDF document, not a model"),
    (0, b"SQLite format 3", "it is an SQLite database, not a model"),
    (0, b"PAR1", "it is a Parquet table, not a model"),
    (0, b"ARROW1", "it is an Arrow table, not a model"),
    (0, b"\x7fELF", "it is a program, not a model"),
    (0, b"MZ", "it is a program, not a model"),
    (0, b"!<arch>\n", "it is a program library, not a model"),
    (0, b"\x00asm", "it is a program, not a model"),
    (0, b"ZF", "it is compressed by an old joblib: load and save it again as .npz"),
    (0, b"\x78\x01", "it is zlib-compressed, as joblib writes: load and save it again as .npz"),
    (0, b"\x78\x9c", "it is zlib-compressed, as joblib writes: load and save it again as .npz"),
    (0, b"\x78\xda", "it is zlib-compressed, as joblib writes: load and save it again as .npz"),
    (
        0,
        b"\x0c\xdb\x3a\x2a",
        "it is part of an Orbax checkpoint, which is not read: save the weights as .npz or .safetensors",
    ),
    (0, b"\0\x01\0\0", "it may be the control file of a download that never ended (aria2): fetch it again"),
)
# What LevelDB's tables end with, TensorFlow's index among them.
_TABLE_END = bytes.fromhex("57fb808b247547db")
# Tools whose pickles hold no network that is read, by a name that is found early in them.
_MAKERS = (
    (b"joblib.numpy_pickle", "joblib"),
    (b"sklearn.", "scikit-learn"),
    (b"xgboost.", "XGBoost"),
    (b"StructuredToParameterName@@", "PaddlePaddle"),
)
_LOOKED_AT = 1 << 16
_MOST_FIELDS = 1000


def meaning(head: bytes, data: memoryview) -> str:
    """One phrase on what the file is that is of no format read; `head` are its first bytes."""
    for place, signature, what in _SIGNATURES:
        if head.startswith(signature, place):
            return what
    if bytes(data[-len(_TABLE_END) :]) == _TABLE_END:
        return f"it is the index of a TensorFlow checkpoint, {_CONVERTED}"
    if _is_darknet(head):
        return f"it is a Darknet weights file, {_CONVERTED}"
    text = plain_text.meaning(head)
    if text is not None:
        return text
    if _is_message_pack(head):
        return f"it is a MessagePack file, as Flax writes, {_AS_ARRAYS}"
    if not any(head):
        return "it begins with zeros alone: the download or the disk went wrong"
    return _message(data) or "its first bytes are those of no model format"


@contextmanager
def pickled_by(data: memoryview) -> Iterator[None]:
    """Where a pickle fails and is another tool's, the fault says whose."""
    try:
        yield
    except (Malformed, Unsupported, Abuse) as fault:
        beginning = bytes(data[:_LOOKED_AT])
        for name, tool in _MAKERS:
            if name in beginning:
                raise type(fault)(f"it is a pickle of {tool}, which is not read ({fault})") from None
        raise


def _is_message_pack(head: bytes) -> bool:
    """A map whose first key is a text: how every Flax state begins."""
    start = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0) if head else 0
    return start > 0 and bool(re.match(rb"[\xa1-\xbf][\w.]|\xd9.[\w.]", head[start : start + 3], re.DOTALL))


def _is_darknet(head: bytes) -> bool:
    major, minor, revision = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4, 8))
    return len(head) > 20 and (major, minor) in ((0, 1), (0, 2)) and revision < 10


def _message(data: memoryview) -> str | None:
    """Which of the other tools' protocol buffers the file is, by the numbers and types of its outermost fields."""
    try:
        seen = [(field.number, field.wire) for field in fields(data, most=_MOST_FIELDS)]
    except WireError:
        return None
    kinds = set(seen)
    if kinds <= {(1, 0), (2, 2)} and (2, 2) in kinds and (1, 0) in kinds:
        return f"it is a TensorFlow SavedModel's graph, {_CONVERTED}"
    if (1, 0) in kinds and any(number >= 200 and wire == 2 for number, wire in kinds):
        return f"it is a CoreML network, {_CONVERTED}"
    if (1, 2) in kinds and kinds <= {(1, 2), (2, 2), (3, 0), (4, 2), (5, 2)} and (4, 2) in kinds:
        return f"it is a TensorFlow graph, {_CONVERTED}"
    if (100, 2) in kinds or (kinds <= {(1, 2), (2, 2)} and len(seen) > 2 and (2, 2) in kinds):
        return f"it is a Caffe network, {_CONVERTED}"
    return None
