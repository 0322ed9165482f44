"""What of a checkpoint's tensors counts: the numeric ones that carry weights, and BatchNorm's batch counters."""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from weightfeat.checkpoint.float8 import FLOAT8
from weightfeat.checkpoint.types import Checkpoint, StoredTensor

_FLOATS = frozenset({"float16", "bfloat16", "float32", "float64", *FLOAT8})
_COUNTER = "num_batches_tracked"
# torch.nn.utils computes a weight from these: pruning from _orig and _mask, spectral norm from _orig, _u and _v,
# weight norm from _g and _v. Each with the parts that prove it is one; its name alone may mean anything.
_PARTNERS = {"orig": ("mask", "u", "v"), "mask": ("orig",), "u": ("orig",), "g": ("v",), "v": ("g", "orig")}
_PARAMETRIZED = re.compile(r"(^|\.)parametrizations\.")
_LEAF_RANK = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}
_TOP = re.compile(r"^(fc|heads?|classifier|logits?|linear|output|out|predictions?)[0-9]*$")


def numeric(checkpoint: Checkpoint) -> tuple[StoredTensor, ...]:
    """The floating-point tensors of at least one dimension, in file order.

    Batch counters are left out, and parts that a weight is computed from.
    """
    names = {tensor.name for tensor in checkpoint.tensors}
    return tuple(
        tensor for tensor in checkpoint.tensors if _is_numeric(tensor) and not is_part(tensor.name, names)
    )


def unfit(checkpoint: Checkpoint) -> tuple[StoredTensor, ...]:
    """What may be weights and is not read as such: matrices of other numbers, parts that a weight is computed from."""
    names = {tensor.name for tensor in checkpoint.tensors}
    return tuple(
        tensor
        for tensor in checkpoint.tensors
        if (tensor.dtype not in _FLOATS and tensor.data.ndim > 1) or is_part(tensor.name, names)
    )


def batch_counters(checkpoint: Checkpoint) -> dict[str, int]:
    """Batches seen by each BatchNorm, under the name of its running variance.

    Found by name, or under any name as the integer that follows the variance in file order.
    """
    counters: dict[str, int] = {}
    before: StoredTensor | None = None
    for tensor in checkpoint.tensors:
        if tensor.data.size == 1 and tensor.data.dtype.kind in "iu" and "int" in tensor.dtype:
            stem, dot, leaf = tensor.name.rpartition(".")
            if leaf == _COUNTER:
                counters[f"{stem}{dot}running_var"] = int(tensor.data.item())
            elif before is not None and checkpoint.ordered:
                counters.setdefault(before.name, int(tensor.data.item()))
        before = tensor
    return counters


def natural_order(tensors: Sequence[StoredTensor]) -> tuple[StoredTensor, ...]:
    """Sorted by name, which is close to a network's order where a file keeps none.

    Digits count as numbers (layer 10 comes after layer 9), a module's weight comes before its bias, and modules at the
    top called "fc", "classifier" and the like come last.
    """
    paths = [tensor.name.split(".") for tensor in tensors]
    modules = zip(*(path[:-1] for path in paths), strict=False)
    shared = next((depth for depth, parts in enumerate(modules) if len(set(parts)) > 1), 0)
    return tuple(sorted(tensors, key=lambda tensor: _natural_key(tensor.name.split(".")[shared:])))


def _natural_key(path: list[str]) -> tuple[bool, list[list[tuple[int, str]]], int, str]:
    *modules, leaf = path
    is_top = bool(modules) and _TOP.match(modules[0].lower()) is not None
    return is_top, [_digits_as_numbers(part) for part in modules], _LEAF_RANK.get(leaf, len(_LEAF_RANK)), leaf


def _digits_as_numbers(part: str) -> list[tuple[int, str]]:
    pieces = (piece for piece in re.split(r"([0-9]+)", part) if piece)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def is_part(name: str, names: Set[str]) -> bool:
    stem, _, leaf = name.rpartition("_")
    partners = _PARTNERS.get(leaf, ())
    return _PARAMETRIZED.search(name) is not None or any(f"{stem}_{partner}" in names for partner in partners)


def _is_numeric(tensor: StoredTensor) -> bool:
    counter = tensor.name.rpartition(".")[2] == _COUNTER  # some writers store it as a float
    return tensor.dtype in _FLOATS and tensor.data.ndim >= 1 and tensor.data.size > 0 and not counter
