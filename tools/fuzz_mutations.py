"""Small changes of model files that keep what would end the reading at once: checksums and sizes of zip records."""

from __future__ import annotations

import random
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO

from weightfeat.checkpoint.opcodes import OPERATIONS

_CHANGES = (1, 1, 1, 2, 4)
Mutation = Callable[[bytes, random.Random], bytes]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The file with a few small changes, in a record of it where it is a zip archive."""
    if data.startswith(b"PK\3\4") and chance.random() < 0.8:
        return in_a_record(data, chance)
    changed = data
    for _ in range(chance.choice(_CHANGES)):
        changed = chance.choice(MUTATIONS)(changed, chance)
    return changed


def in_a_record(data: bytes, chance: random.Random) -> bytes:
    """Another archive with one record changed, its checksum and sizes right."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        contents = {info.filename: archive.read(info) for info in archive.infolist()}
        packed = {info.filename: info.compress_type for info in archive.infolist()}
    likely = [name for name in contents if name.endswith((".pkl", ".py", "byteorder"))] or list(contents)
    name = chance.choice(likely)
    for _ in range(chance.choice(_CHANGES)):
        contents[name] = chance.choice(MUTATIONS)(contents[name], chance)
    made = BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for key, content in contents.items():
            archive.writestr(key, content, packed[key])
    return made.getvalue()


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at + chance.randint(1, 64) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at : at + chance.randint(1, 200)] * chance.randint(2, 20) + data[at:]


def _splice(data: bytes, chance: random.Random) -> bytes:
    start, at = _place(data, chance), _place(data, chance)
    return data[:at] + data[start : start + chance.randint(1, 300)] + data[at:]


def _number(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    value = chance.choice([0, 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1])
    raw = struct.pack("<Q", value)[: chance.choice([1, 2, 4, 8])]
    return data[:at] + raw + data[at + len(raw) :]


def _instruction(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + chance.choice(_SNIPPETS) + data[at:]


_SNIPPETS = [
    *(bytes([code]) for code in OPERATIONS),
    *(
        b"ccollections\nOrderedDict\n)R",
        b"ctorch\nTensor\n",
        b"cos\nsystem\n",
        b"X\1\0\0\0w",
        b"K\1",
        b"h\0",
        b"q\0",
    ),
    *(
        b"(h\1h\2u",
        b"}q\1h\1h\1s",
        b"](h\1h\1e",
        b"ccopyreg\n_reconstructor\n",
        b"ctorch.nn.modules.linear\nLinear\n)\x81",
    ),
]
MUTATIONS: tuple[Mutation, ...] = (_flip, _flip, _cut, _repeat, _splice, _number, _instruction, _instruction)


def _place(data: bytes, chance: random.Random) -> int:
    """Anywhere, but more often near the ends, where headers and directories are."""
    if not data:
        return 0
    near = min(len(data), chance.choice([64, 1024, len(data)]))
    return chance.randrange(near) if chance.random() < 0.6 else len(data) - 1 - chance.randrange(near)
