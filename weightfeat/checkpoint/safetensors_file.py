"""safetensors files, through their library: it checks the header, we map what it found."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

from weightfeat.checkpoint.faults import Malformed, Unreadable
from weightfeat.checkpoint.tensors import contiguous, tensor_array
from weightfeat.checkpoint.types import Finding, StoredTensor
from weightfeat.checkpoint.walk import checked_name

# The format's names: torch's, and bits an element. Those numpy lacks have no torch name here.
_DTYPES = {
    "F64": ("float64", 64),
    "F32": ("float32", 32),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "I64": ("int64", 64),
    "I32": ("int32", 32),
    "I16": ("int16", 16),
    "I8": ("int8", 8),
    "U64": ("uint64", 64),
    "U32": ("uint32", 32),
    "U16": ("uint16", 16),
    "U8": ("uint8", 8),
    "BOOL": ("bool", 8),
    "C64": ("complex64", 64),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "F6_E2M3": ("float6_e2m3", 6),
    "F6_E3M2": ("float6_e3m2", 6),
    "F4": ("float4_e2m1fn_x2", 4),
}


def read_safetensors(path: Path, data: memoryview) -> tuple[tuple[StoredTensor, ...], tuple[Finding, ...]]:
    """Every tensor, mapped, sorted by name with numbers in their natural order.

    The library guarantees that tensors lie one after the other in order of their offsets and end with the file, so
    sizes alone give their places. Raises Malformed for what it refuses, Abuse for a name of absurd length.
    """
    entries = _entries(path)
    sizes = [(prod(shape) * _DTYPES[dtype][1] + 7) // 8 for _, dtype, shape in entries]
    start = len(data) - sum(sizes)
    if start < 0:
        raise Malformed("its tensors are larger than the file")
    tensors, findings = [], []
    for (name, dtype, shape), size in zip(entries, sizes, strict=True):
        torch_name = _DTYPES[dtype][0]
        raw = data[start : start + size]
        start += size
        try:
            array = tensor_array(raw, torch_name, contiguous(shape))
        except Unreadable as fault:
            findings.append(Finding("unreadable-tensor", f"{name!r}: {fault}", name))
            continue
        tensors.append(StoredTensor(name, torch_name, array))
    tensors.sort(key=lambda tensor: _natural(tensor.name))
    order = Finding("ambiguous-order", "safetensors files keep no order of modules")
    return tuple(tensors), (*findings, order)


def _entries(path: Path) -> list[tuple[str, str, tuple[int, ...]]]:
    """(name, dtype, shape) in order of offset, as the library reads the header."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np") as file:
            names = file.offset_keys()
            slices = [file.get_slice(name) for name in names]
            entries = [
                (n, str(s.get_dtype()), tuple(s.get_shape())) for n, s in zip(names, slices, strict=True)
            ]
    except Exception as error:  # the library's own error class, and whatever else its header parser raises
        raise Malformed(f"the safetensors library refuses it ({error})") from None
    for name, dtype, _ in entries:
        checked_name(name)
        if dtype not in _DTYPES:
            raise Malformed(f"tensor {name!r} has the unknown type {dtype}")
    return entries


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key: runs of digits compare as the numbers they are, by length first, for int() refuses long ones."""
    parts = [part for part in re.split("([0-9]+)", name) if part]
    return [
        (0, len(part.lstrip("0")), part.lstrip("0")) if part[0] in "0123456789" else (1, 0, part)
        for part in parts
    ]
