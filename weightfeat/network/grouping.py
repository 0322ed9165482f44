"""Gathers an unknown network's tensors into modules: by the last part of their names, else by shape and order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from weightfeat.checkpoint.types import StoredTensor

_ROLES = re.compile(
    r"^(?:(?P<stem>.*?)[._])?"
    r"(?P<role>weight|bias|gamma|beta|(?:running|moving|)_mean|running_var|(?:moving|)_variance)$",
    re.DOTALL,
)
_SYNONYMS = {
    **{"gamma": "weight", "beta": "bias"},
    **{"moving_mean": "running_mean", "_mean": "running_mean"},
    **{"moving_variance": "running_var", "_variance": "running_var"},
}
_NORM_ROLES = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, eq=False)
class Module:
    """Tensors of one module by role: weight, bias, running_mean, running_var."""

    name: str
    tensors: dict[str, StoredTensor] = field(default_factory=dict)

    @property
    def is_layer(self) -> bool:
        """Holds a weight of two dimensions or more."""
        return "weight" in self.tensors and self.tensors["weight"].data.ndim >= 2

    @property
    def is_norm(self) -> bool:
        """Holds two or more vectors of one size, and nothing else."""
        shapes = {tensor.shape for tensor in self.tensors.values()}
        return len(self.tensors) >= 2 and len(shapes) == 1 and len(next(iter(shapes))) == 1


def modules_of(tensors: Sequence[StoredTensor]) -> tuple[list[Module], list[StoredTensor]]:
    """Modules in the tensors' order, and the tensors that belong to none (class tokens, position tables)."""
    found = _by_name(tensors)
    if not any(module.is_layer for module in found):
        found = _by_shape(tensors)
    kept = [module for module in found if module.is_layer or module.is_norm]
    taken = {id(tensor) for module in kept for tensor in module.tensors.values()}
    return kept, [tensor for tensor in tensors if id(tensor) not in taken]


def _by_name(tensors: Sequence[StoredTensor]) -> list[Module]:
    modules: dict[str, Module] = {}
    for tensor in tensors:
        parsed = _ROLES.match(tensor.name)
        if parsed is None:
            continue
        stem = parsed["stem"] or ""
        role = _SYNONYMS.get(parsed["role"], parsed["role"])
        modules.setdefault(stem, Module(stem)).tensors.setdefault(role, tensor)
    return list(modules.values())


def _by_shape(tensors: Sequence[StoredTensor]) -> list[Module]:
    """Each tensor of two dimensions or more opens a layer; the vectors behind it are its bias, or a norm's.

    One vector is a bias, two or four are a norm's, three or five a bias and a norm's.
    """
    modules: list[Module] = []
    vectors: list[StoredTensor] = []
    for tensor in (*tensors, None):
        if tensor is not None and tensor.data.ndim == 1:
            vectors.append(tensor)
            continue
        if len(vectors) % 2 and modules and modules[-1].is_layer:
            modules[-1].tensors["bias"] = vectors.pop(0)
        if vectors:
            modules.append(Module(vectors[0].name, dict(zip(_NORM_ROLES, vectors, strict=False))))
        vectors = []
        if tensor is not None:
            modules.append(Module(tensor.name, {"weight": tensor}))
    return modules
