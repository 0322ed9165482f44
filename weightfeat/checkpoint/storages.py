"""torch's storages: what persistent ids declare, and the tensors rebuilt over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.audit import FROM_TYPES, NESTED_STORAGE, TENSOR_MAKERS
from weightfeat.checkpoint.faults import Abuse, Unreadable
from weightfeat.checkpoint.float8 import FLOAT8
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.nodes import Call, Global, Persistent, Table, call_path, describe, function_path
from weightfeat.checkpoint.pickled_arrays import (
    FROM_ARRAY,
    FROM_TENSOR,
    array_of,
    device_array,
    is_array,
)
from weightfeat.checkpoint.tensors import DTYPES, check_geometry, is_count, tensor_array
from weightfeat.checkpoint.types import StoredTensor
from weightfeat.checkpoint.uncommon import QUANTISED_MAKER, SPARSE_MAKERS, Allowance, quantised, sparse

_TYPED_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
    # Codes of quantised tensors, which say elsewhere what they stand for.
    "QInt8Storage": "int8",
    "QUInt8Storage": "uint8",
    "QInt32Storage": "int32",
}
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
# Attributes of a tensor that are its values: setting one changes what the tensor is.
_VALUE_ATTRIBUTES = frozenset({"data", "real", "imag"})


@dataclass(frozen=True)
class Declaration:
    """A storage as a persistent id declares it; the legacy format's `view` is (key, offset, size), in elements."""

    key: str
    dtype: str
    numel: int
    view: tuple[str, int, int] | None = None

    @property
    def nbytes(self) -> int:
        if self.dtype not in DTYPES:
            raise Unreadable(f"its storage is of type {self.dtype}")
        return self.numel * DTYPES[self.dtype].itemsize


@dataclass(frozen=True)
class Storage:
    """Bytes of one storage, with their element type."""

    raw: memoryview
    dtype: str
    key: object


@dataclass(frozen=True, eq=False)
class StoredArray:
    """A tensor before it has a name."""

    dtype: str
    data: NDArray[np.generic]


def declaration(node: Persistent) -> Declaration | None:
    """What a persistent id declares; None when it is not a storage's, or not of any shape torch writes."""
    pid = node.pid
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
        return None
    _, kind, key, location, numel = pid[:5]
    if (
        not isinstance(kind, Global)
        or not isinstance(key, str)
        or not isinstance(numel, int)
        or not is_count(numel)
    ):
        return None
    dtype = (
        _TYPED_STORAGES.get(kind.name, describe(kind)) if kind.module in _STORAGE_MODULES else describe(kind)
    )
    if location == "meta":
        dtype = "meta"  # torch would make a tensor without values of it
    view = pid[5] if len(pid) == 6 else None
    if view is None:
        return Declaration(key, dtype, numel)
    if (
        isinstance(view, tuple)
        and len(view) == 3
        and isinstance(view[0], str)
        and all(map(is_count, view[1:]))
    ):
        return Declaration(key, dtype, numel, view)
    return None


def declarations(trace: Trace) -> dict[str, Declaration]:
    """Every storage declared, by key, in the order of the pickle.

    torch believes the first of several declarations of one key, a storage's or a view's, so one that differs is there
    to mislead: Abuse.
    """
    found: dict[str, Declaration] = {}
    views: dict[str, Declaration] = {}
    for node in trace.persistents:
        declared = declaration(node)
        if declared is None:
            continue
        known = found.setdefault(declared.key, declared)
        if (known.dtype, known.numel) != (declared.dtype, declared.numel):
            raise Abuse(f"storage {describe(declared.key)} is declared twice, differently")
        if declared.view is not None and views.setdefault(declared.view[0], declared) != declared:
            raise Abuse(f"view {describe(declared.view[0])} is declared twice, differently")
    for key in views.keys() & found.keys():
        raise Abuse(f"{describe(key)} names a storage and a view")
    return found


@dataclass(eq=False)
class TensorReader:
    """Turns the recorded calls that rebuild tensors into arrays; equal views of a storage are one array."""

    locate: Callable[[Declaration], memoryview]
    big_endian: bool = False
    nested: dict[int, Storage | Unreadable] = field(default_factory=dict)
    allowance: Allowance = field(default_factory=Allowance)
    _arrays: dict[object, StoredArray] = field(default_factory=dict)
    _read: dict[int, StoredArray | Unreadable] = field(default_factory=dict)

    def storage(self, node: object) -> Storage:
        """The bytes a storage node stands for; raises Unreadable."""
        if call_path(node) == NESTED_STORAGE:
            inner = self.nested.get(id(node), Unreadable("its storage is nested and could not be read"))
            if isinstance(inner, Unreadable):
                raise inner
            return inner
        declared = declaration(node) if isinstance(node, Persistent) else None
        if declared is None:
            raise Unreadable("its storage is not one torch writes")
        raw = self.locate(declared)
        if declared.view is not None:
            item = DTYPES[declared.dtype].itemsize
            _, offset, size = declared.view
            if offset + size > declared.numel:
                raise Unreadable("it is a view past the end of its storage")
            raw = raw[offset * item : (offset + size) * item]
        return Storage(raw, declared.dtype, (declared.key, declared.view))

    def read(self, node: object) -> StoredArray | None:
        """The tensor a node stands for, None when it is something else; raises Unreadable."""
        if not isinstance(node, Call) or not (is_tensor(node) or is_array(node)):
            return None
        if id(node) not in self._read:
            try:
                self._read[id(node)] = self._rebuilt(node)
            except Unreadable as fault:
                self._read[id(node)] = fault
        found = self._read[id(node)]
        if isinstance(found, Unreadable):
            raise found
        return found

    def _rebuilt(self, node: Call) -> StoredArray:
        if is_array(node):
            return _made(array_of(node))
        path, args = _unwrapped(node)
        if path in FROM_ARRAY:
            return self._of_device(*device_array(node))
        if path == FROM_TENSOR and len(args) == 4:
            return self._of_device(self._part(args[0]), function_path(args[1]).removeprefix("torch."))
        if path == "torch._utils._rebuild_tensor" and len(args) == 4:
            return self._view(args[0], args[1:4], None)
        if path == "torch._utils._rebuild_tensor_v2" and len(args) in (6, 7):
            _reject_lazy_bits(args[6:])
            return self._view(args[0], args[1:4], None)
        if path == "torch._utils._rebuild_tensor_v3" and len(args) in (7, 8):
            _reject_lazy_bits(args[7:])
            return self._view(args[0], args[1:4], args[6])
        if path == QUANTISED_MAKER and len(args) in (7, 8):
            return _made(quantised(self._view(args[0], args[1:4], None).data, args[4], self._part))
        if path in SPARSE_MAKERS:
            return _made(sparse(args, self._part, self.allowance))
        raise Unreadable(f"{path or 'what makes it'} with {len(args)} arguments is not supported")

    def _of_device(self, values: NDArray[np.generic], dtype: str) -> StoredArray:
        """The values that a device's tensor was saved as; those of bfloat16 as float32, which holds them all."""
        if dtype not in (values.dtype.name, "bfloat16" if values.dtype == np.float32 else ""):
            raise Unreadable(f"it is a {dtype} made of {values.dtype.name}")
        return _made(values)

    def _part(self, node: object) -> NDArray[np.generic]:
        """One of the plain tensors that a sparse or quantised one is made of."""
        path = call_path(node)
        if path in SPARSE_MAKERS or path == QUANTISED_MAKER:
            raise Unreadable("a part of it is sparse or quantised itself")
        found = self.read(node)
        if found is None:
            raise Unreadable(f"a part of it is {describe(node)}")
        raw_bits = found.dtype == "bfloat16" or found.dtype in FLOAT8
        return StoredTensor("", found.dtype, found.data).float32() if raw_bits else found.data

    def _view(self, storage_node: object, geometry: tuple[object, ...], dtype_node: object) -> StoredArray:
        storage = self.storage(storage_node)
        dtype = storage.dtype if dtype_node is None else function_path(dtype_node).removeprefix("torch.")
        offset, shape, stride = (_plain_size(part) for part in geometry)
        checked = check_geometry(offset, shape, stride)
        identity = (storage.key, dtype, checked)
        if identity not in self._arrays:
            big_endian = self.big_endian and self._is_swapped(storage.dtype, dtype)
            array = tensor_array(storage.raw, dtype, checked, big_endian=big_endian)
            self._arrays[identity] = StoredArray(dtype, array)
        return self._arrays[identity]

    def _is_swapped(self, stored: str, dtype: str) -> bool:
        """Whether a tensor of a big-endian file has its bytes turned round: torch goes by the storage's type.

        Raises Unreadable where the two differ and the elements would be swapped across each other's borders.
        """
        if stored == dtype:
            return True
        if stored in DTYPES and DTYPES[stored].itemsize == 1:
            return False
        raise Unreadable(f"it is a {dtype} over a big-endian storage of {stored}")


def _made(values: NDArray[np.generic]) -> StoredArray:
    """Values that are not in the file as such; numpy's names for their types are torch's."""
    values.setflags(write=False)
    return StoredArray(values.dtype.name, values)


def is_tensor(node: object) -> bool:
    """Whether a node is a call that would make a tensor, readable or not."""
    return call_path(node) in TENSOR_MAKERS or call_path(node) in FROM_TYPES


def claimed_shape(node: object) -> tuple[int, ...] | None:
    """The sizes a tensor's call gives it; None where they are not plain numbers or cannot be seen."""
    for _ in range(_MOST_WRAPPERS):
        if not isinstance(node, Call):
            return None
        path, args = call_path(node), node.args
        if path in FROM_TYPES and len(args) == 4 and isinstance(args[2], tuple):
            path, args = function_path(args[0]), args[2]
        if path in _REBUILDS and len(args) > 3:
            sizes = _plain_size(args[2])
            return sizes if isinstance(sizes, tuple) and all(map(is_count, sizes)) else None
        node = args[0] if args else None
    return None


_REBUILDS = frozenset(
    f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "tensor_v3", "meta_tensor_no_storage")
)


_WRAPPERS = frozenset(
    {
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
        "torch.autograd.variable.Variable",
    }
)
_MOST_WRAPPERS = 8


def _unwrapped(call: Call) -> tuple[str, tuple[object, ...]]:
    """The innermost rebuild of a tensor inside parameters and tensor subclasses, as (path, args)."""
    path, args = call_path(call), call.args
    _reject_changes(call, path)
    for _ in range(_MOST_WRAPPERS):
        if path in FROM_TYPES and len(args) == 4 and isinstance(args[2], tuple):
            _reject_values(args[3])
            path, args = function_path(args[0]), args[2]
        elif path in _WRAPPERS and args:
            inner = args[0]
            if path.endswith("_with_state") and len(args) > 3:
                _reject_values(args[3])
            if not isinstance(inner, Call):
                raise Unreadable(f"it wraps {describe(inner)}")
            path, args = call_path(inner), inner.args
            _reject_changes(inner, path)
        else:
            return path, args
    raise Unreadable(f"it is wrapped more than {_MOST_WRAPPERS} times")


def _reject_changes(node: Call, path: str) -> None:
    """A tensor's __setstate__ may point it at another storage; only torch 0.3's flags are known to be harmless."""
    flags = path in _WRAPPERS and path.startswith(("torch.nn.", "torch.autograd."))
    for state in node.states or ():
        if not (flags and isinstance(state, tuple) and len(state) == 3 and isinstance(state[0], bool)):
            raise Unreadable("it is given new state after it is made")


def _reject_values(state: object) -> None:
    """A tensor's attributes are set one by one; only a plain dict shows that its values are not among them."""
    for part in state if isinstance(state, tuple) else (state,):
        if part is None:
            continue
        if not isinstance(part, Table) or part.odd or _VALUE_ATTRIBUTES & part.entries.keys():
            raise Unreadable("its attributes replace its values, or may do")


def _reject_lazy_bits(metadata: tuple[object, ...]) -> None:
    # {"neg": True} or {"conj": True}: the values are not those stored.
    for extra in metadata:
        if extra is not None and not (isinstance(extra, Table) and not extra.entries):
            raise Unreadable("it is a lazily negated or conjugated view")


def _plain_size(node: object) -> object:
    if call_path(node) == "torch.Size" and isinstance(node, Call) and len(node.args) == 1:
        return node.args[0]
    return node
