"""The list of feature blocks: every block has fixed names, a formula in its docstring, and one function of a digest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from weightfeat.digest.types import Digest

Compute = Callable[[Digest], Sequence[float]]


@dataclass(frozen=True)
class FeatureBlock:
    """A named group of features, switched as one by the metaparameter `train_block_<name>`.

    `relative` blocks compare a network's classes or layers with each other, so their raw values mean the same
    in every architecture; the detector may use them unnormalised as well. `reads` names the blocks of a digest that
    `compute` looks at, besides `layers`.
    """

    name: str
    names: tuple[str, ...]
    compute: Compute
    relative: bool
    reads: frozenset[str]


REGISTRY: dict[str, FeatureBlock] = {}


def feature_block(
    name: str, names: Iterable[str], *, relative: bool, reads: Iterable[str]
) -> Callable[[Compute], Compute]:
    """Register a function as the block `name` whose values carry `names`, prefixed by the block's."""
    full = tuple(f"{name}.{part}" for part in names)

    def register(compute: Compute) -> Compute:
        if name in REGISTRY or len(set(full)) != len(full):
            raise ValueError(f"feature block {name} or one of its names is registered twice")
        REGISTRY[name] = FeatureBlock(name, full, compute, relative, frozenset(reads))
        return compute

    return register
