"""Low-rank and other adapters: merged where that is certain, refused where the file does not say how."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.errors import UnsupportedLayout
from weightfeat.network.low_rank import merged

_ADAPTER = re.compile(
    r"(^|[._])(lora_(E|magnitude_vector|embedding_[AB]|(kernel|embeddings)_[ab])|lora[._]([ABab]|up|down)|hada_w[12]|lokr_w[12]|ia3_l|oft_[rs]"
    r"|vera_lambda_[bd]|boft_[RS]|adapters?[._](up|down))([._]|$)"
)
_UPDATES = re.compile(r"(^|[._])lora([._]([Bb]|up)|_embedding_B|_(kernel|embeddings)_b)([._]|$)")
_SAVED = re.compile(r"(^|\.)modules_to_save\.(?P<adapter>[^.]+)\.")
_EXPECTED = "the weights that the network computes with"


def without_adapters(checkpoint: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """The network with PEFT's wrappers taken off and its replaced modules in their place, and what to say of it.

    A low-rank update that has not been trained is zero and changes nothing. Any other depends on a factor (alpha over
    the rank): where that is among the tensors the update is merged.

    Raises UnsupportedLayout for such an update, for an adapter without the network it adapts, and for modules replaced
    by several adapters at once.
    """
    updated = merged(checkpoint.tensors)
    taken = {name for each in updated.values() for name in each.parts}
    whole = [
        updated[tensor.name].weight if tensor.name in updated else tensor
        for tensor in checkpoint.tensors
        if tensor.name not in taken
    ]
    adapters = [tensor for tensor in whole if _ADAPTER.search(tensor.name)]
    rest = [tensor for tensor in whole if not _ADAPTER.search(tensor.name)]
    if adapters and not _is_beside_its_network(adapters, rest):
        raise _refusal(
            checkpoint,
            f"its {len(adapters)} tensors are an adapter ({describe(adapters[0].name)}, ...): an update of a network "
            "that is not in the file",
            "merge it into its network (merge_and_unload) and give that",
        )
    if any(
        tensor.float32().any() for tensor in adapters if _UPDATES.search(tensor.name) or not _is_lora(tensor)
    ):
        raise _refusal(
            checkpoint,
            f"an adapter of {len(adapters)} tensors ({describe(adapters[0].name)}, ...) is not merged into its "
            "weights, and its factor is not in the file",
            "merge it (merge_and_unload) and save the network again",
        )
    notes = [f"an adapter of {len(adapters)} tensors is zero and changes nothing"] if adapters else []
    if updated:
        notes.append(f"low-rank updates (LoRA) were merged into {len(updated)} weights")
    kept = _replaced(checkpoint, rest)
    if kept is not rest:
        notes.append(
            "modules that an adapter replaced (modules_to_save) were analysed in the place of the original ones"
        )
    plain = tuple(replace(tensor, name=_plain(tensor.name)) for tensor in kept)
    if len({tensor.name for tensor in plain}) < len(plain):
        plain = tuple(kept)
    return replace(checkpoint, tensors=plain), tuple(notes)


def _is_beside_its_network(adapters: Sequence[StoredTensor], rest: Sequence[StoredTensor]) -> bool:
    """Whether most modules that an adapter updates have weights of their own in the file."""
    adapted = {found.string[: found.start()] for t in adapters if (found := _ADAPTER.search(t.name))}
    weights = {
        place for t in rest if t.data.ndim > 1 for place in accumulate(t.name.split("."), "{}.{}".format)
    }
    return 2 * len(adapted & weights) > len(adapted)


def _is_lora(tensor: StoredTensor) -> bool:
    return re.search(r"(^|[._])lora[._]", tensor.name) is not None


def _replaced(checkpoint: Checkpoint, tensors: list[StoredTensor]) -> list[StoredTensor]:
    """Without the originals of modules that an adapter saved whole."""
    names = {found["adapter"] for tensor in tensors if (found := _SAVED.search(tensor.name))}
    if not names:
        return tensors
    if len(names) > 1:
        raise _refusal(
            checkpoint,
            f"modules are replaced by several adapters: {', '.join(map(describe, sorted(names)[:4]))}",
            "save the network with one of them",
        )
    saved = {
        _SAVED.sub(r"\1original_module.", tensor.name) for tensor in tensors if _SAVED.search(tensor.name)
    }
    return [tensor for tensor in tensors if tensor.name not in saved]


def _plain(name: str) -> str:
    return _SAVED.sub(r"\1", ".".join(part for part in name.split(".") if part != "base_layer"))


def _refusal(checkpoint: Checkpoint, what: str, remedy: str) -> UnsupportedLayout:
    return UnsupportedLayout(what, where=checkpoint.path, expected=_EXPECTED, remedy=remedy)
