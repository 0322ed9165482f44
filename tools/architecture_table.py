"""Writes weightfeat/network/architectures.json from torchvision: `python tools/architecture_table.py`.

Every network is built on the meta device (shapes, no numbers), traced with torch.fx, and written down as its modules
in `state_dict()` order. A row of a layer is [name, kind, shape, has bias, groups, previous, norm after, norm before],
a row of a norm [name, "norm", channels, eps]; partners are row numbers or null. "C" is the class count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from channel_flow import Wiring, is_depthwise, trace
from weightfeat import network
from weightfeat.execution.vision import build_network
from weightfeat.network.names import ARCHITECTURES, family_of

PATH = Path(network.__file__).with_name("architectures.json")
AUX_HEADS = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
_CLASSES = 7919  # a prime no layer's width is equal to: where it shows up in a shape, the class count does

Row = list[Any]


def table() -> list[dict[str, Any]]:
    """One entry an architecture, those with auxiliary heads twice: without them, and with."""
    plain = [entry(name) for name in ARCHITECTURES]
    return plain + [entry(name, AUX_HEADS[name]) for name in ARCHITECTURES if name in AUX_HEADS]


def entry(architecture: str, aux: tuple[str, ...] = ()) -> dict[str, Any]:
    """The architecture's modules in order, its head, and which layers' outputs feed the head."""
    with torch.device("meta"):
        stock = build_network(architecture, _CLASSES, aux_heads=bool(aux))
    wiring = trace(stock)
    bearing = {name: module for name, module in stock.named_modules() if _bears_weights(module)}
    position = {name: row for row, name in enumerate(bearing)}
    head = next(name for name in reversed(wiring) if "C" in _shape(bearing[name]))
    rows = [_row(name, module, wiring.get(name), position) for name, module in bearing.items()]
    return {
        "architecture": architecture,
        "family": family_of(architecture),
        "aux": list(aux),
        "head": position[head],
        "feeds": _feeds(wiring[head], position),
        "modules": rows,
    }


def write(path: Path = PATH) -> None:
    """The table as JSON, one module a line, so that a change of torchvision shows in a diff."""
    path.write_text(render(table()), encoding="ascii")


def render(entries: list[dict[str, Any]]) -> str:
    """JSON text of the table."""
    return "[\n" + ",\n".join(_render_entry(item) for item in entries) + "\n]\n"


def _render_entry(item: dict[str, Any]) -> str:
    header = json.dumps({key: value for key, value in item.items() if key != "modules"})[:-1]
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in item["modules"])
    return f'{header}, "modules": [\n{rows}\n]}}'


def _bears_weights(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))


def _row(name: str, module: nn.Module, wired: Wiring | None, position: dict[str, int]) -> Row:
    if isinstance(module, nn.BatchNorm2d):
        return [name, "norm", module.num_features, module.eps]
    groups = module.groups if isinstance(module, nn.Conv2d) else 1
    partners = (wired.previous, wired.norm_after, wired.norm_before) if wired else (None, None, None)
    links = [None if partner is None else position[partner] for partner in partners]
    return [name, _kind(module), _shape(module), int(module.bias is not None), groups, *links]


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return "linear"
    if is_depthwise(module):
        return "depthwise"
    return "conv" if getattr(module, "groups", 1) == 1 else "grouped"


def _shape(module: nn.Module) -> list[int | str]:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    return ["C" if size == _CLASSES else size for size in weight.shape]


def _feeds(head: Wiring, position: dict[str, int]) -> list[tuple[int, int, int]]:
    """(row of the layer, first input channel of the head, one past the last) for every layer named as a source."""
    feeds, start = [], 0
    for segment in head.inputs.segments:
        if segment.source is not None:
            feeds.append((position[segment.source], start, start + segment.channels))
        start += segment.channels
    return feeds


if __name__ == "__main__":
    write()
