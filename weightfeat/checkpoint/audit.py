"""Which of the callables in a pickle have no business in a model file.

The list is of what is allowed, for what is dangerous cannot be listed: a call (REDUCE, OBJ, INST) of anything
outside it is reported. An instance of an unknown class (NEWOBJ with state) is how every nn.Module is pickled, so
classes are data unless they come from Python's own library, where the gadgets live.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from weightfeat.checkpoint.faults import Abuse, Malformed, Unsupported
from weightfeat.checkpoint.machine import Trace
from weightfeat.checkpoint.nodes import (
    Call,
    Global,
    call_path,
    class_path,
    describe,
    function_path,
    is_reconstructed,
    state_tables,
)
from weightfeat.checkpoint.pickled_arrays import ARRAY_MAKERS, FROM_ARRAY, FROM_TENSOR
from weightfeat.checkpoint.types import Finding

_MOST_FINDINGS = 50


def _names(module: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for name in names.split())


TENSOR_MAKERS = (
    _names(
        "torch._utils",
        "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state "
        "_rebuild_sparse_tensor _rebuild_sparse_csr_tensor _rebuild_nested_tensor _rebuild_qtensor "
        "_rebuild_meta_tensor_no_storage",
    )
    | FROM_ARRAY
    | {
        FROM_TENSOR,
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
        "torch.autograd.variable.Variable",
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
    | {"copyreg._reconstructor"}
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

_BIT_GENERATOR = "numpy.random._pickle.__bit_generator_ctor"
_GENERATORS = _names("numpy.random._pickle", "__randomstate_ctor __generator_ctor") | {_BIT_GENERATOR}
_BIT_GENERATORS = frozenset({"MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"})
_TENSOR_TYPES = frozenset(
    {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch._tensor.Tensor"}
)

_ALLOWED = (
    _PLAIN
    | TENSOR_MAKERS
    | _names("torch", "Size Tensor device Generator")
    | {"torch.torch_version.TorchVersion"}
    | _names("torch.serialization", "_get_layout")
    | _names(
        "torch.jit._pickle", "build_boollist build_doublelist build_intlist build_tensorlist restore_type_tag"
    )
    | FROM_TYPES
    | {NESTED_STORAGE}
    | _names("numpy", "dtype ndarray")
    | ARRAY_MAKERS
    | {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"}
    | _GENERATORS
)

_PLAIN_BASES = _names("builtins", "bytes dict float frozenset int list object set str tuple")
_HARMLESS_ATTRIBUTES = frozenset(
    {"__annotations__", "__constants__", "__dict__", "__doc__", "__jit_unused_properties__"}
)


@contextmanager
def reported(trace: Trace) -> Iterator[None]:
    """Where reading fails although foreign callables were named before, one is told: that is no mere damage."""
    try:
        yield
    except (Abuse, Malformed, Unsupported) as fault:
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
    for reference in trace.references:
        if id(reference) not in called and _is_dangerous(reference):
            yield f"{describe(reference)} referred to"
    for key, value in trace.hooks:
        if _is_hook(key):
            yield f"{describe(value)} set as {describe(key)}, which Python may call"
    for call in trace.nested:
        yield f"{describe(call.function)} given bytes that are no storage, which torch.load would load"
    for target, state in trace.patched:
        yield f"{describe(target)} given new attributes {describe(state)} (BUILD)"


def is_foreign(call: Call) -> bool:
    """Whether a call is of something that has no business in a model file, or could run something it is given."""
    path = function_path(call.function)
    if call.opcode.startswith("NEWOBJ"):
        return _is_foreign_instance(call, path, call.args)
    if path not in _ALLOWED:
        return True
    if is_reconstructed(call):
        # Only object.__new__ and the plain types are known to do nothing.
        return function_path(call.args[1] if len(call.args) > 1 else None) not in _PLAIN_BASES or (
            _is_foreign_instance(call, class_path(call), ())
        )
    check = _ARGUMENTS.get(path)
    return check is not None and not check(call)


def _is_foreign_instance(call: Call, path: str, args: tuple[object, ...]) -> bool:
    """Whether making an instance runs more than `object.__new__` does, or its state more than `__dict__.update`."""
    if not path or (isinstance(call.function, Global) and _is_dangerous(call.function)):
        return True
    if path in _ALLOWED:
        return False
    return bool(args) or not all(_is_plain_state(state) for state in call.states or ())


def _is_plain_state(state: object) -> bool:
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    return len(state_tables(state)) + parts.count(None) == len(parts)


def _is_codec(call: Call) -> bool:
    return len(call.args) == 2 and call.args[1] in ("latin1", "latin-1")


def _is_typed_tensor(call: Call) -> bool:
    """Of the calls that call their first argument on their third, and the `__setstate__` of their second."""
    makers, kinds = call.args[:1], call.args[1:2]
    return all(function_path(node) in TENSOR_MAKERS for node in makers or (None,)) and all(
        function_path(node) in _TENSOR_TYPES for node in kinds
    )


def _is_known_default(call: Call) -> bool:
    """A defaultdict calls its first argument for every missing key."""
    return not call.args or call.args[0] is None or function_path(call.args[0]) in _PLAIN


def _is_generator(call: Call) -> bool:
    """numpy's constructors call what they are given in place of a name."""
    return all(
        (isinstance(node, str) and node in _BIT_GENERATORS)
        or function_path(node) == _BIT_GENERATOR
        or function_path(node).startswith("numpy.random._")
        or (isinstance(node, Call) and call_path(node) == _BIT_GENERATOR)
        for node in call.args
    )


def _is_one_function(call: Call) -> bool:
    """functools.partial takes its function again from its state: it must be the one it was made with."""
    states = call.states or ()
    return len(call.args) == 1 and all(
        isinstance(state, tuple) and len(state) == 4 and _same_name(state[0], call.args[0])
        for state in states
    )


def _same_name(one: object, other: object) -> bool:
    return one is other or (function_path(one) != "" and function_path(one) == function_path(other))


_ARGUMENTS: dict[str, Callable[[Call], bool]] = {
    "_codecs.encode": _is_codec,
    "collections.defaultdict": _is_known_default,
    "functools.partial": _is_one_function,
    **dict.fromkeys(FROM_TYPES, _is_typed_tensor),
    **dict.fromkeys(_GENERATORS, _is_generator),
}
"""What the arguments of allowed functions that may call them must look like."""


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


def _is_hook(key: object) -> bool:
    return isinstance(key, str) and key not in _HARMLESS_ATTRIBUTES
