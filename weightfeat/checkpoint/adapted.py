"""A network beside an adapter that PEFT saved: their tensors under one roof, with the factor of each update.

The layout is PEFT's: `adapter_config.json` and `adapter_model.safetensors` (or `.bin`) in one folder, which may
hold the network's own weights too. Modules and biases that were trained whole are in the adapter under their own names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from weightfeat.checkpoint.adapter_config import CONFIG, FIRST, MERGE, PART, LowRank, low_rank_of
from weightfeat.checkpoint.faults import Malformed, Unsupported
from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.shards import shards_at
from weightfeat.checkpoint.types import Checkpoint, Finding, StoredTensor

ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
FACTOR = "lora_scaling"
_START = "base_model.model."
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_TOGETHER = "put the network's weights (model.safetensors) beside the adapter, or merge it (merge_and_unload)"


@dataclass(frozen=True)
class AdaptedFolder:
    """The network's own file or folder, the adapter's file, and the config's."""

    base: Path
    adapter: Path
    config: Path


def adapted_at(path: Path) -> AdaptedFolder | None:
    """What a folder with an adapter's config consists of; None for any other path.

    Raises Malformed where there is no adapter, Unsupported where there is not one network beside it.
    """
    config = path / CONFIG
    if not path.is_dir() or not config.is_file():
        return None
    adapter = next((path / name for name in ADAPTERS if (path / name).is_file()), None)
    if adapter is None:
        raise Malformed(f"its {CONFIG} stands beside no {ADAPTERS[0]}")
    if shards_at(path) is not None:
        return AdaptedFolder(path, adapter, config)
    others = [each for each in sorted(path.iterdir()) if _is_weights(each.name)]
    if len(others) != 1:
        raise Unsupported(f"it is an adapter with {len(others)} networks beside it", _TOGETHER)
    return AdaptedFolder(others[0], adapter, config)


def holds_adapter(names: Iterable[str]) -> bool:
    """Whether a folder that holds these names has an adapter and weights beside it.

    >>> holds_adapter(["adapter_config.json", "adapter_model.bin"])
    False
    """
    held = set(names)
    return CONFIG in held and not held.isdisjoint(ADAPTERS) and any(map(_is_weights, held))


def _is_weights(name: str) -> bool:
    return name.endswith(_WEIGHTS) and name not in ADAPTERS


def adapted(path: Path, base: Checkpoint, adapter: Checkpoint, config: Path) -> Checkpoint:
    """The network with the adapter's whole modules in it, its updates beside the weights that they are of, and their
    factors. Raises Malformed and Unsupported as `low_rank_of` and `LowRank.factor` do, and Unsupported for an update of
    a weight that the network lacks."""
    own = {tensor.name: tensor for tensor in base.tensors}
    ends = _ends(own)
    updates: list[StoredTensor] = []
    for tensor in adapter.tensors:
        name = tensor.name.removeprefix(_START)
        found = PART.fullmatch(name)
        if found is None:
            name = ends.get(name) or name
            own[name] = replace(tensor, name=name)
            continue
        weight = ends.get(f"{found['module']}.weight")
        if weight is None:
            raise Unsupported(
                f"its adapter updates {describe(found['module'])}, of which the network has no weight",
                _TOGETHER,
            )
        module = weight.removesuffix(".weight")
        updates.append(replace(tensor, name=f"{module}.lora_{found['part']}.weight"))
    tensors = (*own.values(), *updates)
    rule = low_rank_of(config)
    return replace(
        base,
        path=path,
        format=f"{base.format} with an adapter",
        sha256=_digest(base.sha256, adapter.sha256, config),
        tensors=(*tensors, *_factors(tensors, rule)),
        findings=tuple(dict.fromkeys((*base.findings, *adapter.findings))),
    )


def with_config_beside(checkpoint: Checkpoint) -> Checkpoint:
    """A file's network with the factors that the config in its folder gives the updates it holds; with a note where it
    holds none, as the config is that of another file. Unchanged where there is no config."""
    config = checkpoint.path.parent / CONFIG
    if checkpoint.path.name in ADAPTERS or not checkpoint.path.is_file() or not config.is_file():
        return checkpoint
    if not any(PART.fullmatch(tensor.name) for tensor in checkpoint.tensors):
        note = Finding(
            "note", "an adapter lies beside it and is not in it: give the folder for both together"
        )
        return replace(checkpoint, findings=(*checkpoint.findings, note))
    return replace(
        checkpoint,
        sha256=_digest(checkpoint.sha256, "", config),
        tensors=(*checkpoint.tensors, *_factors(checkpoint.tensors, low_rank_of(config))),
    )


def _ends(names: Iterable[str]) -> dict[str, str | None]:
    """Each name by what it ends with, itself included: an adapter may be of the network without what wraps it. None
    where several names end so."""
    found: dict[str, str | None] = {}
    for name in names:
        path = name.split(".")
        for start in range(1, len(path)):
            end = ".".join(path[start:])
            found[end] = None if end in found else name
    return found | {name: name for name in names}


def _factors(tensors: Sequence[StoredTensor], rule: LowRank) -> list[StoredTensor]:
    """The factor of each module that has an update, as a tensor beside it."""
    named = {tensor.name: tensor for tensor in tensors}
    factors: dict[str, StoredTensor] = {}
    for tensor in tensors:
        found = PART.fullmatch(tensor.name)
        if found is None or found["part"] not in FIRST or tensor.data.ndim == 0:
            continue
        module, name = found["module"], f"{found['module']}.{FACTOR}"
        weight = named.get(f"{module}.base_layer.weight", named.get(f"{module}.weight"))
        if rule.inputs_first and weight is not None and weight.data.ndim == 2 and len(set(weight.shape)) == 1:
            raise Unsupported(
                f"{describe(module)} is square, and {CONFIG} says fan_in_fan_out: its sides cannot be told apart",
                MERGE,
            )
        if name not in named:
            value = np.float32(rule.factor(module.removeprefix(_START), len(tensor.data)))
            factors[name] = StoredTensor(name, "float32", np.full((), value))
    return list(factors.values())


def _digest(base: str, adapter: str, config: Path) -> str:
    parts = (base, adapter, hashlib.sha256(config.read_bytes()).hexdigest())
    return hashlib.sha256(" ".join(parts).encode("ascii")).hexdigest()
