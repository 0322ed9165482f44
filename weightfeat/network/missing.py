"""What a network lacks that its like has, told by names and shapes.

Its like are torchvision's architectures, and those of its own blocks that are numbered in one row.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.types import StoredTensor
from weightfeat.network.recognition import fits, modern
from weightfeat.network.table import ANY, CLASSES, Entry, LayerRow, Shape, entries
from weightfeat.network.types import Network

_LISTED = 3
_NEARLY_ALL = 0.9
_FEWEST_SIBLINGS = 3
_NEAR = 0.3  # share of an architecture's tensors from which a file is taken for a part of it
_NUMBER = re.compile(r"[0-9]+")


def missing_of_known(tensors: Sequence[StoredTensor]) -> str | None:
    """ "a resnet18 without 'layer3.0.conv2.weight'" where the names are torchvision's and some are absent that nothing
    stands in for; None where none are, or no architecture is near.

    Blocks that are absent altogether, and what no block has, are a design of another sort; but for the first layer.
    """
    named = {modern(tensor.name): tensor for tensor in tensors}
    near = max((_near(entry, named) for entry in entries()), key=lambda near: near.share)
    if near.share < _NEAR:
        return None
    present = {name for name, _ in near.entry.tensors if near.prefix + name in named}
    others = {
        name.removeprefix(near.prefix): tensor.shape
        for name, tensor in named.items()
        if name.startswith(near.prefix) and name.removeprefix(near.prefix) not in present
    }
    patterns, blocks = {_NUMBER.sub("#", name) for name in present}, {_block(name) for name in present}
    head = f"{near.entry.rows[near.entry.head].name}."
    first = near.entry.tensors[0][0]
    lost = []
    for name, shape in near.entry.tensors:
        usual = _NUMBER.sub("#", name) in patterns or (not _block(name) and near.share > _NEARLY_ALL)
        missed = name == first or (usual and _block(name) in blocks)
        if (
            name not in present
            and not name.startswith(head)
            and missed
            and not _stood_in_for(name, shape, others)
        ):
            lost.append(name)
    return f"a {near.entry.architecture} without {_listed(lost)}" if lost else None


def cut_off(network: Network) -> str | None:
    """The name of the head where an architecture that is near has a layer of that name and shape that is no head."""
    name, shape = network.layers[network.head].name, network.layers[network.head].weight.shape
    named = {f"{layer.name}.weight": layer for layer in network.layers}
    for entry in entries():
        for row in entry.rows:
            ours = name == row.name or name.endswith(f".{row.name}")
            if (
                ours
                and row is not entry.rows[entry.head]
                and isinstance(row, LayerRow)
                and fits(shape, row.shape, 0)
            ):
                prefix = name.removesuffix(row.name)
                layers = [f"{prefix}{each.name}.weight" for each in entry.rows if isinstance(each, LayerRow)]
                if sum(layer in named for layer in layers) >= _NEAR * len(layers):
                    return name
    return None


@dataclass(frozen=True)
class _Near:
    """How much of an entry is in a file: the share of its tensors that are there in their shapes, under a prefix."""

    entry: Entry
    prefix: str
    share: float


def _near(entry: Entry, named: Mapping[str, StoredTensor]) -> _Near:
    own = dict(entry.tensors)
    starts: Counter[str] = Counter()
    for name in named:
        path = name.split(".")
        starts.update(
            ".".join([*path[:n], ""]) if n else "" for n in range(len(path)) if ".".join(path[n:]) in own
        )
    prefix = starts.most_common(1)[0][0] if starts else ""
    sizes = {prefix + name: shape for name, shape in own.items() if not {CLASSES, ANY} & set(shape)}
    fitting = sum(name in named and fits(named[name].shape, shape, 0) for name, shape in sizes.items())
    return _Near(entry, prefix, fitting / len(sizes))


def _stood_in_for(name: str, shape: Shape, others: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether tensors that the architecture has not lie in the module or in its block, or one of this shape beside
    them."""
    module, block = f"{name.rpartition('.')[0]}.", _block(name)
    return any(
        other.startswith(module) or (other.startswith(f"{block}.") if block else own == shape)
        for other, own in others.items()
    )


def _block(name: str) -> str:
    """The path up to its last number that has modules below: a residual block's, a stage's; "" at the top."""
    path = name.split(".")[:-2]
    return ".".join(path[: max((n + 1 for n, part in enumerate(path) if _NUMBER.search(part)), default=0)])


def missing_of_siblings(tensors: Sequence[StoredTensor]) -> str | None:
    """ "a network without 'blocks.3.conv2.weight'" where all other blocks, of three or more, have one of that name
    beside what this block has too; None where nothing is missing."""
    groups: defaultdict[str, defaultdict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    for tensor in tensors:
        block = _block(tensor.name)
        if block:
            groups[_NUMBER.sub("#", block)][block][tensor.name[len(block) + 1 :]] = tensor.data.ndim
    lost = [name for blocks in groups.values() for name in _lost(blocks)]
    return f"a network without {_listed(lost)}" if lost else None


def _lost(blocks: Mapping[str, Mapping[str, int]]) -> Iterable[str]:
    """Tensors that one block lacks, though it has what goes with them in every other block."""
    if len(blocks) <= _FEWEST_SIBLINGS:
        return
    counts = Counter(name for held in blocks.values() for name in held)
    for name in [name for name, count in counts.items() if count == len(blocks) - 1]:
        lacking = next(block for block, held in blocks.items() if name not in held)
        dimensions = next(held[name] for held in blocks.values() if name in held)
        if any(counts[other] == len(blocks) and _needs(other, name, dimensions) for other in blocks[lacking]):
            yield f"{lacking}.{name}"


def _needs(present: str, absent: str, dimensions: int) -> bool:
    """Whether a tensor has no use without another of so many dimensions: it is of the same module, or belongs to the
    norm of the layer that the other is of ("bn2" and "conv2"; but a layer may do without a norm)."""
    module, other = present.rpartition(".")[0], absent.rpartition(".")[0]
    if module == other:
        return True
    first, second = (re.fullmatch(r"(.*?)([^.0-9]+)([0-9]+)", path) for path in (module, other))
    kin = first is not None and second is not None and first.group(1, 3) == second.group(1, 3)
    return kin and dimensions > 1 and present.endswith("running_var")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(describe, names[:_LISTED])) + more
