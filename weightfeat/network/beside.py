"""What lies beside a network and changes nothing it computes: counters, observers, metrics, another network's parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set

from weightfeat.checkpoint.types import StoredTensor

LARGEST_CONSTANT = 16
"""Elements of a tensor that may stand anywhere in a network, such as an input's mean or a counter of operations."""

_WATCHING = re.compile(
    r"(^|[._])(activation_post_process|fake_quant|act_quant|observer|quantizer)([._0-9]|$)"
)


def is_constant(tensor: StoredTensor) -> bool:
    """Whether a tensor may stand within a network without being a part of it: it is tiny, or an observer's."""
    return tensor.data.size <= LARGEST_CONSTANT or is_watching(tensor)


def is_watching(tensor: StoredTensor) -> bool:
    """Whether a tensor is an observer's, which watches a layer to quantise it later."""
    return _WATCHING.search(tensor.name) is not None


def are_beside(extras: Sequence[StoredTensor], network: Iterable[str], classes: int) -> bool:
    """Whether all extras lie beside a network whose tensors have the names `network`, in modules it has no part of.

    A layer that takes as many numbers as there are `classes` is none of them: it may turn the network's answer into
    another.
    """
    rest = [extra for extra in extras if not is_constant(extra)]
    if not rest:
        return True
    tops = tops_of(network)
    if tops is None:
        return False
    outside = all(_top(extra.name, tops[0]) not in tops[1] for extra in rest)
    return outside and not any(extra.data.ndim == 2 and extra.shape[1] == classes for extra in rest)


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
