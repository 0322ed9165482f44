"""Files of other kinds that turn up under a model's name: each said in words, with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from weightfeat.checkpoint import plain_text
from weightfeat.checkpoint.faults import Abuse, Fault, Malformed, Unsupported
from weightfeat.checkpoint.protobuf import WireError, fields

CONVERT = "give the network it was converted from, or save the weights as .safetensors"
ARRAYS = "save the weights as .npz or .safetensors"
_UNPACK = "decompress it and give what is in it"
_FETCH = "fetch it again"
_GIVE = "give the path of a model file"

# (place, bytes there, what the file is, what to do): formats of models, and of archives, that are not read.
_MODELS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x28\xb5\x2f\xfd", "it is zstd-compressed", _UNPACK),
    (0, b"\x04\x22\x4d\x18", "it is lz4-compressed", _UNPACK),
    (0, b"\x1f\x9d", "it is compressed by compress (.Z)", _UNPACK),
    (0, b"LZIP", "it is lzip-compressed", _UNPACK),
    (0, b"\x5d\0\0", "it is lzma-compressed", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "it is a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "it is a rar archive", _UNPACK),
    (4, b"TFL3", "it is a TensorFlow Lite network, which is not read", CONVERT),
    (4, b"ET1", "it is an ExecuTorch program, which is not read", CONVERT),
    (0, b"GGUF", "it is a GGUF file, which holds language models and is not read", _GIVE),
    (0, b"lmgg", "it is a GGML file, which holds language models and is not read", _GIVE),
    (0, b"tjgg", "it is a GGML file, which holds language models and is not read", _GIVE),
    (0, b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "it is a Lua Torch 7 file, which is not read", CONVERT),
    (0, b"\x12\x01\0\0\0\0\0\0", "it is an MXNet parameter file, which is not read", CONVERT),
    (0, b"RDX", "it is an R data file, which is not read", ARRAYS),
    (0, b"X\n\0\0\0", "it is an R data file (rds), which is not read", ARRAYS),
    (0, b"MATLAB ", "it is a MATLAB file, which is not read", ARRAYS),
    (0, b"ZF", "it is compressed by an old joblib, and not read", ARRAYS),
    (0, b"\x78\x01", "it is zlib-compressed, as joblib writes, and not read", ARRAYS),
    (0, b"\x78\x9c", "it is zlib-compressed, as joblib writes, and not read", ARRAYS),
    (0, b"\x78\xda", "it is zlib-compressed, as joblib writes, and not read", ARRAYS),
    (0, b"\x0c\xdb\x3a\x2a", "it is part of an Orbax checkpoint, which is not read", ARRAYS),
)
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x05\x06", "it is an empty archive", _FETCH),
    (0, b"\x89PNG", "it is a PNG image, not a model", _GIVE),
    (0, b"\xff\xd8\xff", "it is a JPEG image, not a model", _GIVE),
    (0, b"GIF8", "it is a GIF image, not a model", _GIVE),
    (0, b"%PDF", "it is a PDF document, not a model", _GIVE),
    (0, b"SQLite format 3", "it is an SQLite database, not a model", _GIVE),
    (0, b"PAR1", "it is a Parquet table, not a model", _GIVE),
    (0, b"ARROW1", "it is an Arrow table, not a model", _GIVE),
    (0, b"\x7fELF", "it is a program, not a model", _GIVE),
    (0, b"MZ", "it is a program, not a model", _GIVE),
    (0, b"!<arch>\n", "it is a program's library, not a model", _GIVE),
    (0, b"\x00asm", "it is a program, not a model", _GIVE),
    (0, b"\0\x01\0\0", "it may be the control file of a download that never ended (aria2)", _FETCH),
)
# What LevelDB's tables end with, TensorFlow's index among them.
_TABLE_END = bytes.fromhex("57fb808b247547db")
# Pickles that hold no network that is read, by a name that is found early in them.
_PICKLES = (
    (
        b"torch.distributed.checkpoint.metadata",
        "the table of a distributed checkpoint",
        "give the folder it lies in",
    ),
    (b"joblib.numpy_pickle", "a pickle of joblib, which is not read", ARRAYS),
    (b"sklearn.", "a pickle of scikit-learn, which is not read", ARRAYS),
    (b"xgboost.", "a pickle of XGBoost, which is not read", ARRAYS),
    (b"StructuredToParameterName@@", "a pickle of PaddlePaddle, which is not read", ARRAYS),
)
_LOOKED_AT = 1 << 16
_MOST_FIELDS = 1000


def fault_of(head: bytes, data: memoryview) -> Fault:
    """What a file is that is of no format read, as the fault to raise; `head` are its first bytes.

    Unsupported for models of other formats and for archives, Malformed for what is no model at all.
    """
    for table, kind in ((_MODELS, Unsupported), (_OTHERS, Malformed)):
        for place, signature, what, remedy in table:
            if head.startswith(signature, place):
                return kind(what, remedy)
    if bytes(data[-len(_TABLE_END) :]) == _TABLE_END:
        return Unsupported("it is the index of a TensorFlow checkpoint, which is not read", CONVERT)
    if _is_darknet(head):
        return Unsupported("it is a Darknet weights file, which is not read", CONVERT)
    text = plain_text.fault_of(head)
    if text is not None:
        return text
    if _is_message_pack(head):
        return Unsupported("it is a MessagePack file, as Flax writes, which is not read", ARRAYS)
    if not any(head):
        return Malformed("it begins with zeros alone: the download or the disk went wrong", _FETCH)
    message = _message(data)
    if message is not None:
        return Unsupported(f"it is a {message}, which is not read", CONVERT)
    return Malformed("its first bytes are those of no model format")


@contextmanager
def pickled_by(data: memoryview) -> Iterator[None]:
    """Where a pickle cannot be read and is another tool's, the fault says whose."""
    try:
        yield
    except (Malformed, Unsupported, Abuse) as fault:
        beginning = bytes(data[:_LOOKED_AT])
        for name, what, remedy in _PICKLES:
            if name in beginning:
                raise type(fault)(f"it is {what} ({fault})", remedy) from None
        raise


def _is_message_pack(head: bytes) -> bool:
    """A map whose first key is a text: how every Flax state begins."""
    start = {0xDE: 3, 0xDF: 5}.get(head[0], 1 if 0x81 <= head[0] <= 0x8F else 0)
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
    if kinds == {(1, 0), (2, 2)}:
        return "TensorFlow SavedModel's graph"
    if (1, 0) in kinds and any(number >= 200 and wire == 2 for number, wire in kinds):
        return "CoreML network"
    if {(1, 2), (4, 2)} <= kinds <= {(1, 2), (2, 2), (3, 0), (4, 2), (5, 2)}:
        return "TensorFlow graph"
    if (100, 2) in kinds or (kinds == {(1, 2), (2, 2)} and len(seen) > 2):
        return "Caffe network"
    return None
