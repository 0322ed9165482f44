"""Whether what was read is a whole network: one that takes an image, with every part that its like has.

A part of a network has layers and something like a head, and could be scored as well as a whole one. What is told here
is what a part lacks: weights that could not be read, a first layer that takes an image, a tensor that all its
siblings have.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt

from weightfeat.checkpoint.joining import is_weight
from weightfeat.checkpoint.nodes import describe
from weightfeat.checkpoint.shards import part_of
from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.errors import NotAClassifier, UnsupportedLayout
from weightfeat.network.recognition import fits, modern
from weightfeat.network.table import ANY, CLASSES, Entry, LayerRow, Shape, entries
from weightfeat.network.tensors import is_part
from weightfeat.network.types import Layer, Network

_LISTED = 3
_USUAL_CHANNELS = (1, 3, 4)
_WIDEST_STEM = 64
_MOST_CHANNELS = 13  # bands of a satellite's picture
_NEARLY_ALL = 0.9
_FEATURES = 32  # networks give features in multiples of it
_FEWEST_SIBLINGS = 3
_NEAR = 0.3  # share of an architecture's tensors from which a file is taken for a part of it
_NUMBER = re.compile(r"[0-9]+")
_WHOLE = "give the whole trained classifier"


def refuse_unread(checkpoint: Checkpoint) -> None:
    """Refuse a network some of whose weights are in the file and could not be read. Raises UnsupportedLayout."""
    unread = [finding for finding in checkpoint.findings if finding.about]
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        raise UnsupportedLayout(
            f"{len(unread)} of its weights cannot be read: {unread[0].detail}{more}",
            where=checkpoint.path,
            expected="weights that can all be read",
            remedy="save the network's state_dict with plain tensors",
        )


def refuse_unfit(checkpoint: Checkpoint, unfit: Sequence[StoredTensor]) -> None:
    """Refuse a network some of whose weights are there in parts or numbers that no rule makes weights of.
    Raises UnsupportedLayout."""
    weights = [t for t in unfit if is_part(t.name, {other.name for other in unfit}) or is_weight(t.name)]
    if weights:
        more = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
        raise UnsupportedLayout(
            f"{len(weights)} of its weights are kept in a way that is not read: {describe(weights[0].name)} "
            f"({weights[0].dtype}){more}",
            where=checkpoint.path,
            expected="weights as the network computes with them",
            remedy="remove the pruning, weight norm or quantisation and save again",
        )


def refuse_part(checkpoint: Checkpoint, network: Network) -> None:
    """Refuse what is only a part of a network. Raises UnsupportedLayout for a tensor that is missing, NotAClassifier
    where no layer takes an image."""
    missing = missing_of_known(checkpoint.tensors) or missing_of_siblings(checkpoint.tensors)
    if missing is not None:
        raise UnsupportedLayout(
            f"it is {missing}{_by_name(checkpoint)}",
            where=checkpoint.path,
            expected="every tensor of the network",
            remedy=f"{_WHOLE}, no part of it",
        )
    what, cut = no_image(network), cut_off(network)
    if what is None and cut is not None:
        what = f"its last layer, {describe(cut)}, is none that classifies"
    if what is not None:
        raise NotAClassifier(
            f"it is a part of a network: {what}{_by_name(checkpoint)}",
            where=checkpoint.path,
            expected="a first layer that takes an image, and a last one that classifies it",
            remedy=f"{_WHOLE}, its first layers and its head included",
        )


def _by_name(checkpoint: Checkpoint) -> str:
    part = part_of(checkpoint.path)
    return "" if part is None else f" (by its name part {part}: give the folder or the index of all parts)"


def no_image(network: Network) -> str | None:
    """What the first layer takes where that is no image; None where it may be one.

    A convolution takes an image where it takes its colours, up to thirteen of them. Without convolutions, a linear
    layer takes it where its inputs are a square's pixels, in one colour or three, or no number that features come in.
    """
    head = network.layers[network.head]
    convolutions = [layer for layer in network.layers if layer.weight.ndim > 2 and layer.kind != "embedding"]
    if convolutions and convolutions != [head]:
        first = min(convolutions, key=lambda layer: layer.weight.shape[1] * layer.groups)
        channels = first.weight.shape[1] * first.groups
        later = _is_depthwise(first, convolutions) or _is_a_later_one(first)
        if channels <= _MOST_CHANNELS and not (later and (channels not in _USUAL_CHANNELS or channels == 1)):
            return None
        return f"the first of its convolutions, {describe(first.name)}, takes {channels} channels"
    first = next((layer for layer in network.layers if layer.kind != "embedding"), head)
    inputs = first.weight.shape[1]
    if may_be_either(network):
        return None
    if convolutions or (inputs % _FEATURES == 0 and not _is_picture(inputs)):
        alone = "its only layer" if len(network.layers) == 1 else "the first of its layers"
        return f"{alone}, {describe(first.name)}, takes {inputs} numbers"
    return None


def may_be_either(network: Network) -> int | None:
    """The inputs of several linear layers alone, where they are a square's pixels and a usual number of features as
    well (256, 1024, ...): a network for small grey pictures, or the head of a larger one. None elsewhere."""
    layers = [layer for layer in network.layers if layer.kind != "embedding"]
    inputs = layers[0].weight.shape[1] if layers and layers[0].weight.ndim > 1 else 0
    several = len(layers) > 1 and all(layer.weight.ndim == 2 for layer in layers)
    power = inputs > 0 and inputs & (inputs - 1) == 0
    return inputs if several and power and isqrt(inputs) ** 2 == inputs else None


def _is_a_later_one(layer: Layer) -> bool:
    """Whether a layer's own name counts it as the second or later of its sort ("conv2"). Keras counts all networks of a
    session on ("conv2d_3")."""
    if re.search(r"conv\dd_[0-9]+$", layer.name.lower()):
        return False
    number = re.search(r"(?<=[a-z_])([0-9]+)$", layer.name.rpartition(".")[2].lower())
    return number is not None and int(number[1]) > 1


def _is_depthwise(first: Layer, convolutions: Sequence[Layer]) -> bool:
    """Whether a layer that takes one channel rather takes many, one by one: it is wide, and one position follows it."""
    width, channels = first.weight.shape[:2]
    place = next(place for place, layer in enumerate(convolutions) if layer is first)
    follower = convolutions[place + 1].weight.shape if place + 1 < len(convolutions) else ()
    return channels == 1 and width > _WIDEST_STEM and follower[1:2] == (width,) and max(follower[2:]) == 1


def _is_picture(inputs: int) -> bool:
    """Whether so many numbers are a picture's; those of a power of two are rather a layer's features."""
    return inputs & (inputs - 1) != 0 and any(
        inputs % colours == 0 and isqrt(inputs // colours) ** 2 * colours == inputs for colours in (1, 3)
    )


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
