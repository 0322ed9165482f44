"""What lies beside a network and changes nothing it computes: counters, observers, metrics, another network's parts."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set

from weightfeat.checkpoint.types import StoredTensor

LARGEST_CONSTANT = 16
"""Elements of a tensor that may stand anywhere in a network, such as an input's mean or a counter of operations."""

_WATCHING = re.compile(
    r"(^|[._])(activation_post_process|fake_quant|(act|weight|bias|input|output)_quant|observer|quantizer)([._0-9]|$)"
)
# A table of counts of answers. It is as wide as a layer on the answers would be.
_METRIC = re.compile(r"(^|[._])(conf_?mat|confusion_?matrix)$", re.IGNORECASE)
# What trainers keep of each weight, under its name: gradients, their moments, how much a weight matters.
_TRAINERS = re.compile(
    r"[._](grad|momentum(_buffer)?|velocity|exp_avg(_sq)?|fisher|omega|importance)$", re.IGNORECASE
)
_END = re.compile(r"[._][^._]+$")


def is_constant(tensor: StoredTensor) -> bool:
    """Whether a tensor may stand within a network without being a part of it: it is tiny, or an observer's."""
    return tensor.data.size <= LARGEST_CONSTANT or is_watching(tensor)


def is_watching(tensor: StoredTensor) -> bool:
    """Whether a tensor is an observer's, which watches a layer to quantise it later."""
    return _WATCHING.search(tensor.name) is not None


def are_beside(extras: Sequence[StoredTensor], network: Iterable[str], classes: int) -> bool:
    """Whether all extras lie beside a network whose tensors have the names `network`, in modules it has no part of.

    A layer that takes as many numbers as there are `classes` is none of them: it may turn the network's answer into
    another. What a trainer keeps of the network's own tensors lies beside it wherever it is.
    """
    network = set(network)
    rest = [
        extra for extra in extras if not is_constant(extra) and not (is_kept_by_trainer(extra.name, network))
    ]
    if not rest:
        return True
    tops = tops_of(network)
    if tops is None:
        return False
    outside = all(_top(extra.name, tops[0]) not in tops[1] for extra in rest)
    on_answers = (extra for extra in rest if extra.data.ndim == 2 and extra.shape[1] == classes)
    return outside and all(_METRIC.search(extra.name) for extra in on_answers)


def is_kept_by_trainer(name: str, network: Collection[str]) -> bool:
    """Whether a tensor is what a trainer keeps of one of the network's, whose names are `network`."""
    return _TRAINERS.search(name) is not None and _TRAINERS.sub("", name) in network


def counterparts(
    extras: Iterable[tuple[str, tuple[int, ...]]], network: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """The extras, (name, shape), that are called after a tensor of the network and have its shape, and that no trainer
    is known to keep: the network may compute with both.

    >>> counterparts([("fc.weight_delta", (2, 3)), ("fc.weight.grad", (2, 3))], {"fc.weight": (2, 3)})
    ['fc.weight_delta']
    """
    return [
        name
        for name, shape in extras
        if network.get(_END.sub("", name)) == shape and len(shape) > 1 and not _TRAINERS.search(name)
    ]


def tops_of(network: Iterable[str]) -> tuple[str, Set[str]] | None:
    """The prefix that all of a network's names share and the modules right below it; None for names without modules."""
    paths = [name.split(".")[:-1] for name in network]
    if not all(paths):
        return None
    depth = 0
    while all(len(path) > depth + 1 for path in paths) and len({path[depth] for path in paths}) == 1:
        depth += 1
    prefix = "".join(f"{part}." for part in paths[0][:depth])
    return prefix, {path[depth] for path in paths}


def _top(name: str, prefix: str) -> str:
    """The module right below the prefix that a name lies in; "" where it has no module there, or another prefix."""
    below = name.removeprefix(prefix).split(".") if name.startswith(prefix) else []
    return below[0] if len(below) > 1 else ""
