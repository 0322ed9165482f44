"""numpy's own files: .npz archives of arrays named as a state_dict names them, and .npy, which holds one array.

The header is a Python literal and is not evaluated: only the one spelling that numpy writes is understood.
Source: numpy.lib.format.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from math import prod
from types import MappingProxyType
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint import streams
from weightfeat.checkpoint.faults import Malformed, Unreadable, Unsupported
from weightfeat.checkpoint.modules import Found
from weightfeat.checkpoint.streams import Budget
from weightfeat.checkpoint.tensors import MAX_DIMENSIONS
from weightfeat.checkpoint.types import Finding, StoredTensor
from weightfeat.checkpoint.walk import checked_name
from weightfeat.checkpoint.zip_archive import DEFLATED, STORED, Record
from weightfeat.checkpoint.zip_kinds import Records

MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|=][biufcV][0-9]{1,2})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,18}L?(?:, ?[0-9]{1,18}L?)*,?)?)\),? *\} *\n?"
)
_KERNEL = re.compile(r"(^|[./])kernel(:[0-9]+)?$")
_LONGEST_HEADER = 10_000
_MOST_ARRAYS = 20_000
_TYPES = {
    **{"b1": "bool", "c8": "complex64", "c16": "complex128"},
    **{f"f{size}": f"float{8 * size}" for size in (2, 4, 8)},
    **{f"i{size}": f"int{8 * size}" for size in (1, 2, 4, 8)},
    **{f"u{size}": f"uint{8 * size}" for size in (1, 2, 4, 8)},
}


def read_npz(data: memoryview, records: Sequence[Record]) -> Found:
    """Every array of an .npz, in the archive's order, which is that in which they were given to numpy.

    Raises Abuse for two arrays of one name or an archive that unpacks to far more than it is, Unsupported where no
    array can be read.
    """
    archive, budget = Records(data, records), Budget.of(len(data))
    if len(records) > _MOST_ARRAYS:
        raise Unsupported(f"it has {len(records):,} arrays (at most {_MOST_ARRAYS:,})")
    tensors, findings = [], []
    for record in records:
        name = checked_name(record.name.removesuffix(".npy"))
        try:
            tensors.append(_tensor(name, _content(archive, record, budget)))
        except Unreadable as fault:
            findings.append(Finding("unreadable-tensor", f"{name!r}: {fault}"))
    _refuse_other_axes([tensor.name for tensor in tensors])
    if not tensors:
        reason = f" ({findings[0].detail})" if findings else ""
        raise Unsupported(f"none of its arrays can be read{reason}")
    return Found(tuple(tensors), MappingProxyType({}), tuple(findings))


def refuse_npy(data: memoryview) -> NoReturn:
    """Raises Unsupported: one array is no network, whatever its shape."""
    try:
        shape = _tensor("array", data).shape
    except Unreadable as fault:
        raise Malformed(f"it is a damaged .npy file ({fault})") from None
    raise Unsupported(f"it is one array of shape {shape}, not a network: save all of them in one .npz")


def _refuse_other_axes(names: Sequence[str]) -> None:
    """Raises Unsupported for Flax's and TensorFlow's names, whose kernels have other axes than torch's."""
    foreign = next((name for name in names if _KERNEL.search(name)), None)
    if foreign is not None:
        raise Unsupported(
            f"its array {foreign!r} is named as Flax or TensorFlow names kernels, whose axes are not torch's: "
            "save it with torch's names and axes (outputs, inputs, height, width)"
        )


def _content(archive: Records, record: Record, budget: Budget) -> memoryview:
    if record.method == STORED:
        return archive.read(record.name)
    if record.method != DEFLATED:
        raise Unreadable("it is packed otherwise than numpy packs")
    out = io.BytesIO()
    try:
        streams.inflate(archive.packed(record), out, budget)
    except Malformed as fault:
        raise Unreadable(str(fault)) from None
    if out.tell() != record.unpacked:
        raise Unreadable("it unpacks to another size than the archive says")
    return out.getbuffer()


def _tensor(name: str, raw: memoryview) -> StoredTensor:
    """One .npy file as a tensor; raises Unreadable."""
    if bytes(raw[: len(MAGIC)]) != MAGIC or len(raw) < 12:
        raise Unreadable("it is no .npy file")
    version = raw[6]
    width = {1: 2, 2: 4, 3: 4}.get(version)
    if width is None:
        raise Unreadable(f"it is of version {version} of the format")
    length = int.from_bytes(raw[8 : 8 + width], "little")
    start = 8 + width + length
    if length > _LONGEST_HEADER or start > len(raw):
        raise Unreadable("its header is longer than the file or than any header")
    header = _HEADER.fullmatch(bytes(raw[8 + width : start]))
    if header is None:
        raise Unreadable("its header is not of numbers as numpy writes it (Python objects, records or texts)")
    return StoredTensor(name, *_array(raw[start:], header))


def _array(raw: memoryview, header: re.Match[bytes]) -> tuple[str, NDArray[np.generic]]:
    descr = header["descr"].decode()
    kind = _TYPES.get(descr[1:])
    if kind is None:
        raise Unreadable(f"its type {descr} is not supported")
    shape = tuple(int(number) for number in re.findall(rb"[0-9]+", header["shape"]))
    if len(shape) > MAX_DIMENSIONS:
        raise Unreadable(f"it has {len(shape)} dimensions (at most {MAX_DIMENSIONS})")
    stored = np.dtype(descr.replace("=", "<"))
    if prod(shape) * stored.itemsize != len(raw):
        raise Unreadable(f"it claims {prod(shape):,} elements in {len(raw):,} bytes")
    flat = np.frombuffer(raw, stored)
    array = flat.reshape(shape[::-1]).T if header["fortran"] == b"True" else flat.reshape(shape)
    native = array.astype(stored.newbyteorder("<"), copy=False)
    native.setflags(write=False)
    return kind, native
