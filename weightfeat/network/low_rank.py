"""Low-rank updates merged into the weights they adapt, by LoRA's own rule and PEFT's names.

W + s B A, with s = alpha / rank as PEFT and kohya's scripts scale it, where alpha (or s itself) is in the file. Source:
Hu et al. 2021 (LoRA), section 4.1; peft/tuners/lora/layer.py (`get_delta_weight`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from weightfeat.checkpoint.adapter_config import FIRST, PART
from weightfeat.checkpoint.types import StoredTensor

_ALPHAS = ("alpha", "lora_alpha")
_SCALES = ("scaling", "lora_scaling")


@dataclass(frozen=True)
class Merged:
    """A weight with its update in it, and the names of what the update was made of."""

    weight: StoredTensor
    parts: tuple[str, ...]


def merged(tensors: Sequence[StoredTensor]) -> dict[str, Merged]:
    """The merged weights by the name of the one they replace: of each module that has one update, whose factor is in
    the file and whose shapes fit.

    >>> parts = {"fc.weight": np.zeros((2, 3)), "fc.lora_A.weight": np.ones((1, 3)),
    ...          "fc.lora_B.weight": np.ones((2, 1)), "fc.alpha": np.full((), 2.0)}
    >>> found = merged([StoredTensor(name, "float32", np.float32(value)) for name, value in parts.items()])
    >>> found["fc.weight"].weight.data.tolist()
    [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """
    named = {tensor.name: tensor for tensor in tensors}
    updates: dict[str, dict[str, list[StoredTensor]]] = {}
    for tensor in tensors:
        found = PART.fullmatch(tensor.name)
        if found and tensor.data.ndim > 1 and tensor.data.size:
            parts = updates.setdefault(found["module"], {"A": [], "B": []})
            parts["A" if found["part"] in FIRST else "B"].append(tensor)
    made = {}
    for module, parts in updates.items():
        weight = named.get(f"{module}.base_layer.weight", named.get(f"{module}.weight"))
        if weight is None or [len(parts[part]) for part in "AB"] != [1, 1]:
            continue
        (down,), (up,) = parts["A"], parts["B"]
        factor = _factor(named, module, len(down.data))
        change = None if factor is None else _product(up, down, weight.shape)
        if factor is not None and change is not None:
            values = np.asarray(weight.float32() + np.float32(factor[1]) * change, np.float32)
            values.setflags(write=False)
            whole = replace(weight, dtype="float32", data=values)
            made[weight.name] = Merged(whole, (down.name, up.name, factor[0]))
    return made


def _factor(named: Mapping[str, StoredTensor], module: str, rank: int) -> tuple[str, float] | None:
    """What the update is multiplied by, behind the name of the tensor that says so."""
    for leaves, divisor in ((_SCALES, 1), (_ALPHAS, rank)):
        for leaf in leaves:
            found = named.get(f"{module}.{leaf}")
            if found is not None and found.data.size == 1:
                return found.name, float(found.float32().reshape(())) / max(divisor, 1)
    return None


def _product(up: StoredTensor, down: StoredTensor, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """B A in the weight's shape: A reads as the layer does, B combines position by position. Turned over where the
    weight has inputs first; None where they do not fit."""
    rank, turned = len(down.data), (down.data[0].size, len(up.data))
    if down.data.ndim == up.data.ndim == 2 and shape == turned and turned[0] != turned[1]:
        product = _product(up, down, turned[::-1])
        return None if product is None else product.T
    fits = (
        down.data.ndim == up.data.ndim == len(shape) > 1
        and down.shape[1:] == shape[1:]
        and up.shape == (shape[0], rank, *[1] * (len(shape) - 2))
    )
    if not fits:
        return None
    product = up.float32().reshape(shape[0], rank) @ down.float32().reshape(rank, -1)
    return np.asarray(product.reshape(shape), np.float32)
