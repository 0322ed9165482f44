"""Layers of a recognised architecture, partnered by its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from weightfeat.checkpoint.types import StoredTensor
from weightfeat.network.head import doubt_of, heads_beside
from weightfeat.network.recognition import Match, groups_of
from weightfeat.network.table import LayerRow, NormRow
from weightfeat.network.types import Feed, Kind, Layer, Norm, Role


@dataclass(frozen=True, eq=False)
class Parts:
    """What both ways of reading a network give: its layers, head, feeds, norms, what was left over, and what to say.

    `doubts` say why the head may be another layer.
    """

    layers: tuple[Layer, ...]
    head: int
    feeds: tuple[Feed, ...]
    norms: tuple[Norm, ...]
    extras: tuple[StoredTensor, ...]
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def from_graph(match: Match, counters: Mapping[str, int]) -> Parts:
    """Layers and norms under torchvision's names, auxiliary heads left out."""
    entry = match.entry
    kept = {number: row for number, row in enumerate(entry.rows) if not entry.is_aux(row)}
    norms = {number: _norm(match, row, counters) for number, row in kept.items() if isinstance(row, NormRow)}
    rows = {number: row for number, row in kept.items() if isinstance(row, LayerRow)}
    index = {number: place for place, number in enumerate(rows)}
    layers = tuple(_layer(match, number, row, norms, index) for number, row in rows.items())
    head = index[entry.head]
    beside = heads_beside(list(_matrices(match.extras)), layers[head].weight.shape[1])
    doubt = doubt_of(layers[head], beside)
    feeds = _feeds(match, layers, index)
    return Parts(layers, head, feeds, tuple(norms.values()), match.extras, doubts=doubt)


def _matrices(extras: Sequence[StoredTensor]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of what may be a linear layer, or one stored as a convolution."""
    for extra in extras:
        module, _, leaf = extra.name.rpartition(".")
        if leaf == "weight" and extra.data.ndim > 1 and max(extra.shape[2:], default=1) == 1:
            yield module, extra.shape


def depth_of(index: int, head: int, count: int) -> float:
    """Place of a layer from 0 (first) to 1 (head): its number among the layers before the head, over their count."""
    if index == head:
        return 1.0
    return (index - (index > head)) / (count - 1)


def _layer(
    match: Match, number: int, row: LayerRow, norms: Mapping[int, Norm], index: Mapping[int, int]
) -> Layer:
    weight = match.tensors[f"{row.name}.weight"].float32()
    groups = groups_of(match, row)
    return Layer(
        name=row.name,
        kind=_kind(row, groups, weight.shape),
        role=_role(index[number], number == match.entry.head),
        weight=weight,
        bias=match.tensors[f"{row.name}.bias"].float32() if row.bias else None,
        groups=groups,
        depth=depth_of(index[number], index[match.entry.head], len(index)),
        norm_after=None if row.norm_after is None else norms[row.norm_after],
        norm_before=None if row.norm_before is None else norms[row.norm_before],
        previous=None if row.previous is None else index[row.previous],
        pairing="graph",
    )


def _kind(row: LayerRow, groups: int, shape: tuple[int, ...]) -> Kind:
    if row.kind == "linear" or groups == 1:
        return "linear" if row.kind == "linear" else "conv"
    return "depthwise" if shape[1] == 1 else "grouped"


def _role(index: int, is_head: bool) -> Role:
    if is_head:
        return "head"
    return "stem" if index == 0 else "body"


def _norm(match: Match, row: NormRow, counters: Mapping[str, int]) -> Norm:
    gamma, beta, mean, var = (match.tensors[name] for name, _ in row.tensors)
    return Norm(
        name=row.name,
        gamma=gamma.float32(),
        beta=beta.float32(),
        mean=mean.float32(),
        var=var.float32(),
        batches=counters.get(var.name),
        eps=row.eps,
    )


def _feeds(match: Match, layers: tuple[Layer, ...], index: Mapping[int, int]) -> tuple[Feed, ...]:
    """The entry's feeds; a variant's are laid end to end again, as its layers have other widths."""
    feeds = tuple(Feed(index[row], start, stop) for row, start, stop in match.entry.feeds)
    if match.exact:
        return feeds
    moved, start = [], 0
    for feed in feeds:
        stop = start + layers[feed.layer].weight.shape[0]
        moved.append(Feed(feed.layer, start, stop))
        start = stop
    head = layers[index[match.entry.head]]
    return tuple(moved) if start == head.weight.shape[1] else ()
