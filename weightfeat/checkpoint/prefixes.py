"""The prefixes of names: those wrappers put before every one (DataParallel's "module.", torch.compile's "_orig_mod.",
FSDP's and checkpointing's around blocks), and those that tell several networks of a file apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType

from weightfeat.checkpoint.faults import Unsupported
from weightfeat.checkpoint.joining import start_of
from weightfeat.checkpoint.modules import Found
from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import StoredTensor

_COMPILED = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_MOST_KEYS = 8
_PARALLEL = "module"
_SEPARATORS = ("/", "__")
# torch.optim.swa_utils.AveragedModel counts its averages beside the network it wraps.
_BESIDE_THE_WRAPPED = frozenset({"n_averaged"})


def without_wrappers(found: Found) -> Found:
    """The same network under the names it would have unwrapped, with dots between modules; unchanged where two names
    would become one."""
    names = [tensor.name for tensor in found.tensors]
    plain = [_without_compiled(name) for name in _dotted(names)]
    while _all_parallel(plain):
        plain = [_without_compiled(_without_parallel(name)) for name in plain]
    if plain == names or len(set(plain)) != len(plain):
        return found
    tensors = tuple(replace(tensor, name=name) for tensor, name in zip(found.tensors, plain, strict=True))
    return replace(found, tensors=tensors, module_types=_types(found.module_types, plain))


def tensors_under(tensors: Sequence[StoredTensor], key: str) -> tuple[StoredTensor, ...]:
    """The tensors whose names begin with a key and a dot or, where none does, an underscore, without these.

    Names have lost their wrappers, so a wrapper's own name is the key of all. Raises Unsupported where none begins so.
    """
    if key in _COMPILED | {_PARALLEL}:
        return tuple(tensors)
    start = start_of(key, [tensor.name for tensor in tensors])
    kept = [tensor for tensor in tensors if tensor.name.startswith(start)]
    if not kept:
        tops = list(dict.fromkeys(tensor.name.partition(".")[0] for tensor in tensors))[:_MOST_KEYS]
        raise Unsupported(f"nothing is under the key {describe(key)}; there are {', '.join(tops)}")
    return tuple(replace(tensor, name=tensor.name[len(start) :]) for tensor in kept)


def _dotted(names: list[str]) -> list[str]:
    """Names with dots for what other writers put between modules, where every name has that and none has a dot."""
    for separator in _SEPARATORS:
        if all(separator in name and "." not in name for name in names):
            return [name.replace(separator, ".") for name in names]
    return names


def _types(types: MappingProxyType[str, str], names: Iterable[str]) -> MappingProxyType[str, str]:
    """Module types under the new names: the wrapped module's own type becomes that of the root."""
    plain: dict[str, str] = {}
    wrapped = bool(types) and not any(name.split(".")[0] == _PARALLEL for name in names)
    for path, kind in types.items():
        path = _without_compiled(path)
        while wrapped and path.split(".")[0] == _PARALLEL:
            path = _without_parallel(path)
        plain[path] = kind
    return MappingProxyType(plain)


def _all_parallel(names: list[str]) -> bool:
    wrapped = [name for name in names if name not in _BESIDE_THE_WRAPPED]
    return bool(wrapped) and all(name.startswith(_PARALLEL + ".") for name in wrapped)


def _without_parallel(name: str) -> str:
    return name.removeprefix(_PARALLEL).removeprefix(".") if name.split(".")[0] == _PARALLEL else name


def _without_compiled(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _COMPILED)
