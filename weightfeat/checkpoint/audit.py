"""Which of the callables in a pickle have no business in a model file.

The list is of what is allowed, for what is dangerous cannot be listed: a call (REDUCE, OBJ, INST) of anything
outside it is reported. An instance of an unknown class (NEWOBJ with state) is how every nn.Module is pickled, so
classes are data unless they come from Python's own library, where the gadgets live.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from weightfeat.checkpoint.faults import Abuse, Malformed, Unsupported
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.nodes import (
    INSTANCE_MAKERS,
    Call,
    Global,
    attributes,
    call_path,
    describe,
    function_path,
)
from weightfeat.checkpoint.types import Finding

_MOST_FINDINGS = 50


def _names(module: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for name in names.split())


TENSOR_MAKERS = _names(
    "torch._utils",
    "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state "
    "_rebuild_sparse_tensor _rebuild_sparse_csr_tensor _rebuild_nested_tensor _rebuild_qtensor "
    "_rebuild_meta_tensor_no_storage _rebuild_device_tensor_from_numpy _rebuild_device_tensor_from_cpu_tensor",
) | {"torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch.autograd.variable.Variable"}

ARRAY_MAKERS = frozenset(
    {
        *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
        *("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"),
    }
)
# These call their first argument on their third.
FROM_TYPES = frozenset(
    {
        *("torch._tensor._rebuild_from_type_v2", "torch._tensor._rebuild_from_type"),
        "torch.tensor._rebuild_from_type",
    }
)
NESTED_STORAGE = "torch.storage._load_from_bytes"

# Data of Python's own library that training scripts leave in checkpoints; none does anything but hold values.
_PLAIN = (
    _names(
        "builtins",
        "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple",
    )
    | _names("collections", "Counter OrderedDict defaultdict deque")
    | _names("copyreg", "_reconstructor __newobj__ __newobj_ex__")
    | _names("datetime", "date datetime time timedelta timezone")
    | _names("pathlib", "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath")
    | _names("pathlib._local", "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath")
    | {
        "argparse.Namespace",
        "decimal.Decimal",
        "fractions.Fraction",
        "functools.partial",
        "logging.getLogger",
    }
    | {"types.SimpleNamespace", "uuid.UUID", "_codecs.encode"}
)

_ALLOWED = (
    _PLAIN
    | TENSOR_MAKERS
    | _names("torch", "Size Tensor device Generator")
    | _names("torch.serialization", "_get_layout")
    | _names(
        "torch.jit._pickle", "build_boollist build_doublelist build_intlist build_tensorlist restore_type_tag"
    )
    | FROM_TYPES
    | {NESTED_STORAGE}
    | _names("numpy", "dtype ndarray")
    | ARRAY_MAKERS
    | {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
    | _names("numpy.random._pickle", "__randomstate_ctor __generator_ctor __bit_generator_ctor")
)

_PLAIN_BASES = _names("builtins", "bytes dict float frozenset int list object set str tuple")
_HARMLESS_ATTRIBUTES = frozenset(
    {"__annotations__", "__constants__", "__dict__", "__doc__", "__jit_unused_properties__"}
)


@contextmanager
def reported(trace: Trace) -> Iterator[None]:
    """Where reading fails although foreign callables were named before, the file is no mere damage: Abuse."""
    try:
        yield
    except (Malformed, Unsupported) as fault:
        found = foreign_callables(trace)
        if found:
            raise Abuse(f"{fault}; and {found[0].detail}") from None
        raise


def foreign_callables(trace: Trace) -> tuple[Finding, ...]:
    """One finding for each different foreign use, the first fifty in full."""
    details: list[str] = []
    seen: set[int] = set()  # hashes: a million instructions may have as many long details
    for detail in _details(trace):
        if hash(detail) not in seen and len(details) < _MOST_FINDINGS:
            details.append(detail)
        seen.add(hash(detail))
    if len(seen) > len(details):
        details.append(f"and {len(seen) - len(details)} more foreign callables")
    return tuple(Finding("foreign-callable", detail) for detail in details)


def _details(trace: Trace) -> Iterator[str]:
    called = {id(call.function) for call in trace.calls}
    for call in trace.calls:
        if is_foreign(call):
            yield f"{describe(call.function)} called with {describe(call.args)} ({call.opcode})"
        yield from _hooks(call)
    for reference in trace.references:
        if id(reference) not in called and _is_dangerous(reference):
            yield f"{describe(reference)} referred to"
    for target, state in trace.patched:
        yield f"{describe(target)} given new attributes {describe(state)} (BUILD)"


def is_foreign(call: Call) -> bool:
    """Whether a call is of something that has no business in a model file."""
    path = function_path(call.function)
    if call.opcode.startswith("NEWOBJ"):
        return not path or (isinstance(call.function, Global) and _is_dangerous(call.function))
    if path not in _ALLOWED:
        return True
    if path == "_codecs.encode":
        return len(call.args) != 2 or call.args[1] not in ("latin1", "latin-1")
    if path in FROM_TYPES:
        return not call.args or function_path(call.args[0]) not in TENSOR_MAKERS
    if path == "copyreg._reconstructor":
        # Only object.__new__ and the plain types are known to do nothing.
        return len(call.args) < 2 or function_path(call.args[1]) not in _PLAIN_BASES
    return path in INSTANCE_MAKERS and not (call.args and function_path(call.args[0]))


def _is_dangerous(reference: Global) -> bool:
    """Part of Python's own library and not plain data, or reached through another module's attributes."""
    if reference.path in _ALLOWED:
        return False
    root = reference.module.partition(".")[0]
    parts = reference.name.split(".")
    through = len(parts) > 1 and any(
        part in sys.stdlib_module_names or part.startswith("__") for part in parts
    )
    is_module = reference.name in ("os", "sys", "subprocess", "builtins", "__builtins__", "importlib")
    return root in sys.stdlib_module_names or through or is_module


def _hooks(call: Call) -> Iterator[str]:
    """`__setstate__` and its like put among an instance's attributes: the next BUILD would call them."""
    for key, value in attributes(call).items():
        if isinstance(value, Global | Call) and _is_hook(key):
            yield f"{describe(value)} set as {describe(key)} of {call_path(call) or 'an object'}"


def _is_hook(key: object) -> bool:
    special = isinstance(key, str) and key.startswith("__") and key.endswith("__")
    return special and key not in _HARMLESS_ATTRIBUTES
