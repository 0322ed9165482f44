"""What every format is read into: named tensors, in module order, and what was odd about the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.float8 import FLOAT8, float8_values
from weightfeat.errors import one_line

FindingKind = Literal[
    "foreign-callable",
    "unreadable-tensor",
    "ambiguous-order",
    "outside-tables",
    "second-network",
    "doubt",
    "note",
]


@dataclass(frozen=True)
class Finding:
    """Something about the file its owner should know; never silently dropped. `detail` is made one printable line.

    `about` is the name of a weight that could not be read, where that is what was found.
    """

    kind: FindingKind
    detail: str
    about: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", one_line(self.detail))


MOST_FINDINGS = 50
"""Findings of one kind that a file may have in full: a small file can have a million."""


def capped(kind: FindingKind, details: Sequence[str], more: int = 0) -> list[Finding]:
    """A finding for each detail up to the most that are kept, and one that counts the others, with `more` besides."""
    left_out = max(len(details) - MOST_FINDINGS, 0) + more
    rest = [Finding(kind, f"and {left_out} more of this kind")] if left_out else []
    return [*(Finding(kind, detail) for detail in details[:MOST_FINDINGS]), *rest]


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """One tensor as stored: `data` is read-only and mapped from the file wherever the format allows.

    `dtype` is torch's name without the prefix ("float32", "bfloat16", "int64"). numpy has no bfloat16 and no float8, so
    such a tensor's `data` holds the raw bits as uint16 or uint8; `float32()` decodes them.
    """

    name: str
    dtype: str
    data: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def float32(self) -> NDArray[np.float32]:
        """The values as float32, sharing memory with the file when they already are."""
        if self.dtype == "bfloat16":
            return (self.data.astype(np.uint32) << np.uint32(16)).view(np.float32)
        if self.dtype in FLOAT8:
            return np.asarray(float8_values(self.dtype)[self.data])
        return self.data.astype(np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model file, read without running anything in it.

    `tensors` are in module order (parameters, then buffers, then children, as `state_dict()` has them), under
    names without a DataParallel or compile prefix. `ordered` is False when the format does not keep
    an order of its own (safetensors sorts names). `module_types` maps a module's dotted path ("" is the root) to
    its class path, where the file names it. `format` names what the network is wrapped in too ("torch-zip in gzip").
    `sha256` is of the file given, whatever it wraps; where files beside it hold weights, of all their digests.
    """

    path: Path
    format: str
    sha256: str
    tensors: tuple[StoredTensor, ...]
    ordered: bool = True
    module_types: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    findings: tuple[Finding, ...] = ()
