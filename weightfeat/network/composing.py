"""Weights that a file keeps as parts: pruned, normalised, quantised with a scale of their own, or adapted by LoRA.

Rules and names are those of torch.nn.utils (`prune`, `weight_norm`, `spectral_norm` and their parametrizations), of
PEFT and loralib, of bitsandbytes and of compressed float8. A weight that is composed stands where its module's first
tensor stood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.types import Checkpoint, StoredTensor

Values = NDArray[np.float64]
Named = Mapping[str, StoredTensor]
Rule = Callable[[Named, str, str], "Composed | None"]

_MOST_ROUNDS = 3  # a weight that is normalised and then pruned is composed twice
_CODES = frozenset({"int8", "uint8", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"})
_SCALES = ("{}_scale", "{}_scale_inv", "{}.scale")
_BITSANDBYTES = 127.0  # its scale is the largest absolute value of a row


@dataclass(frozen=True)
class Composed:
    """A weight and the names of what it was made of."""

    weight: StoredTensor
    parts: tuple[str, ...]


def composed(checkpoint: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """The checkpoint with every weight composed that a rule is known for, and what to say of it, one line a rule.

    Tensors that no rule covers stay as they are. Shapes that do not fit a rule are no parts of it.

    >>> from pathlib import Path
    >>> parts = [StoredTensor("fc.weight_orig", "float32", np.ones((2, 2), np.float32)),
    ...          StoredTensor("fc.weight_mask", "float32", np.eye(2, dtype=np.float32))]
    >>> found, notes = composed(Checkpoint(Path("a.pt"), "state_dict", "", tuple(parts)))
    >>> found.tensors[0].name, found.tensors[0].data.tolist(), notes
    ('fc.weight', [[1.0, 0.0], [0.0, 1.0]], ('1 weights were computed from pruning masks',))
    """
    counts = dict.fromkeys(_RULES, 0)
    tensors = checkpoint.tensors
    for _ in range(_MOST_ROUNDS):
        named = {tensor.name: tensor for tensor in tensors}
        made: dict[str, Composed] = {}
        taken: set[str] = set()
        for what, (suffix, rule) in _RULES.items():
            for name in [name for name in named if name.endswith(suffix) and name not in taken]:
                base, target = _target(name, suffix)
                found = rule(named, base, target)
                if found is None or target in made or taken & set(found.parts):
                    continue
                made[target], counts[what] = found, counts[what] + 1
                taken |= set(found.parts)
        if not made:
            break
        tensors = _placed(tensors, made, taken)
    notes = tuple(f"{count} weights were computed from {what}" for what, count in counts.items() if count)
    return replace(checkpoint, tensors=tensors), notes


_PARAMETRIZED = re.compile(r"(?:^|(?<=\.))parametrizations\.(?=[^.]+$)")


def _target(name: str, suffix: str) -> tuple[str, str]:
    """What the names of all parts begin with, and the name of the weight they make."""
    base = name.removesuffix(suffix)
    return base, _PARAMETRIZED.sub("", base)


def _placed(
    tensors: tuple[StoredTensor, ...], made: Mapping[str, Composed], taken: set[str]
) -> tuple[StoredTensor, ...]:
    """The tensors with what was made in the place of its parts, in front of its module's others."""
    waiting: dict[str, list[StoredTensor]] = {}
    for target, each in made.items():
        waiting.setdefault(target.rpartition(".")[0], []).append(each.weight)
    placed: list[StoredTensor] = []
    for tensor in tensors:
        placed += waiting.pop(_module(tensor.name), [])
        if tensor.name not in taken:
            placed.append(tensor)
    return tuple(placed)


def _module(name: str) -> str:
    return (
        name.partition(".parametrizations.")[0] if ".parametrizations." in name else name.rpartition(".")[0]
    )


def _made(target: str, values: NDArray[np.floating], *parts: str) -> Composed:
    weight = np.asarray(values, np.float32)
    weight.setflags(write=False)
    return Composed(StoredTensor(target, "float32", weight), parts)


def _values(tensor: StoredTensor) -> Values:
    return tensor.float32().astype(np.float64)


def _masked(named: Named, base: str, target: str, *, orig: str, mask: str) -> Composed | None:
    whole, kept = named.get(f"{base}{orig}"), named.get(f"{base}{mask}")
    if whole is None or kept is None or whole.shape != kept.shape:
        return None
    return _made(target, whole.float32() * kept.float32(), whole.name, kept.name)


def _mean(named: Named, base: str, target: str) -> Composed | None:
    """The mean of a weight that is drawn anew at each use, as a Bayesian or a noisy layer's."""
    mean = named[f"{base}_mu"]
    spreads = [tensor for leaf in ("_rho", "_sigma") if (tensor := named.get(f"{base}{leaf}"))]
    if len(spreads) != 1 or spreads[0].shape != mean.shape:
        return None
    noise = [name for name in (f"{base}_epsilon",) if name in named]
    return _made(target, mean.float32(), mean.name, spreads[0].name, *noise)


def _weight_norm(named: Named, base: str, target: str, *, g: str, v: str) -> Composed | None:
    """g v / |v|, the norm over all axes but those that g has."""
    length, direction = named.get(f"{base}{g}"), named.get(f"{base}{v}")
    if length is None or direction is None or direction.data.ndim < 2:
        return None
    axes = tuple(range(direction.data.ndim))
    if length.data.ndim:
        if length.data.ndim != direction.data.ndim or prod(length.shape) != max(length.shape):
            return None
        axes = tuple(axis for axis in axes if length.shape[axis] != direction.shape[axis])
        if any(length.shape[axis] != 1 for axis in axes):
            return None
    values = _values(direction)
    norm = np.sqrt(np.square(values).sum(axis=axes or None, keepdims=True))
    scaled = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0) * _values(length)
    return _made(target, scaled, length.name, direction.name)


def _spectral_norm(named: Named, base: str, target: str, *, orig: str, u: str, v: str) -> Composed | None:
    """The weight over u^T W v, as in eval mode; W is (out, everything else), or (in, ...) for a transposed one."""
    whole, left, right = (named.get(f"{base}{leaf}") for leaf in (orig, u, v))
    if whole is None or left is None or whole.data.ndim < 2 or left.data.ndim != 1:
        return None
    values = _values(whole)
    axis = next((axis for axis in (0, 1) if whole.shape[axis] == left.data.size), None)
    if axis is None:
        return None
    matrix = np.moveaxis(values, axis, 0).reshape(left.data.size, -1)
    through = _values(left) @ matrix
    if right is not None and right.shape != through.shape:
        return None
    sigma = float(through @ _values(right)) if right is not None else float(np.linalg.norm(through))
    if sigma == 0:
        return None
    parts = [tensor.name for tensor in (whole, left, right) if tensor is not None]
    return _made(target, values / sigma, *parts)


def _scaled(named: Named, base: str, target: str) -> Composed | None:
    """Codes times the scale beside them: one for all, one a row, or one a block; less a zero point where one is."""
    codes = named.get(base)
    if codes is None or codes.dtype not in _CODES or codes.data.ndim < 2:
        return None
    rows = named.get(f"{base.rpartition('.')[0]}.SCB")
    scale = next((found for form in _SCALES if (found := named.get(form.format(base)))), rows)
    if scale is None:
        return None
    factor = _broadcast(_values(scale) / (_BITSANDBYTES if scale is rows else 1.0), codes.shape)
    zero = named.get(f"{base}_zero_point")
    shift = np.zeros(()) if zero is None else _broadcast(_values(zero), codes.shape)
    if factor is None or shift is None:
        return None
    parts = [tensor.name for tensor in (codes, scale, zero) if tensor is not None]
    return _made(target, (_values(codes) - shift) * factor, *parts)


def _broadcast(scale: Values, shape: tuple[int, ...]) -> Values | None:
    if scale.size == 1:
        return scale.reshape(())
    if prod(scale.shape[1:]) == 1 and scale.shape[0] == shape[0]:
        return scale.reshape(-1, *[1] * (len(shape) - 1))
    if scale.ndim == len(shape) == 2 and all(
        0 < n <= size for n, size in zip(scale.shape, shape, strict=True)
    ):
        blocks = [-(-size // n) for n, size in zip(scale.shape, shape, strict=True)]
        return scale.repeat(blocks[0], axis=0).repeat(blocks[1], axis=1)[: shape[0], : shape[1]]
    return None


_RULES: dict[str, tuple[str, Rule]] = {
    "pruning masks": ("_orig", partial(_masked, orig="_orig", mask="_mask")),
    "pruning masks as parametrizations": (".original", partial(_masked, orig=".original", mask=".0.mask")),
    "weight norm": ("_g", partial(_weight_norm, g="_g", v="_v")),
    "weight norm as a parametrization": (
        ".original0",
        partial(_weight_norm, g=".original0", v=".original1"),
    ),
    "spectral norm": ("_orig", partial(_spectral_norm, orig="_orig", u="_u", v="_v")),
    "spectral norm as a parametrization": (
        ".original",
        partial(_spectral_norm, orig=".original", u=".0._u", v=".0._v"),
    ),
    "means of weights that are drawn": ("_mu", _mean),
    "codes and their scales": ("", _scaled),
}
"""What to call it, what the name of one part ends with, and the rule."""
