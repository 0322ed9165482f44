"""Fresh images of a zoo network, with its true trigger on them or clean.

What a network's `example_data` lacks and every measurement of an attack needs. Files are named as examples are, by the
true class, before the trigger.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from weightfeat.errors import BadRound
from weightfeat.zoo.design import network_spec
from weightfeat.zoo.presets import preset
from weightfeat.zoo.render import Renderer
from weightfeat.zoo.specification import NetworkSpec

_BATCH = 64


def spec_of(network: Path) -> NetworkSpec:
    """The design of the network in a zoo's folder, from its name and its config.json.

    Raises BadRound where these do not name a network, or where this version's design draws another one.
    """
    try:
        said = json.loads((network / "config.json").read_text(encoding="utf-8"))
        number = int(re.fullmatch(r"id-(\d{8})", network.resolve().name)[1])  # type: ignore[index]
        spec = network_spec(preset(said["PRESET"]), int(said["DESIGN_SEED"]), number, int(said["ATTEMPT"]))
        same = (spec.master_seed, spec.factors.number_classes) == (
            said["MASTER_SEED"],
            said["NUMBER_CLASSES"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise BadRound(
            "is no network of this version's zoo",
            where=network,
            expected="a folder id-######## with the config.json written beside its model",
            remedy="give a network made by weightfeat zoo",
        )
    return spec


def draw(spec: NetworkSpec, count: int, *, stamped: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images (count, 3, h, w) in [0, 1] and their true classes (count,), the classes in turns.

    With `stamped`, of the trigger's source classes only (of all where the target is one of them, the target's own
    included). Raises BadRound where a clean network is to be stamped.
    """
    if stamped and spec.trigger is None:
        raise BadRound(
            "has no trigger", where=spec.name, expected="a poisoned network", remedy="draw clean images"
        )
    classes = spec.trigger.sources if stamped and spec.trigger else tuple(range(spec.factors.number_classes))
    labels = torch.tensor(classes)[torch.arange(count) % len(classes)]
    renderer = Renderer(spec, torch.device("cpu"))
    random = torch.Generator().manual_seed(seed)
    parts = [
        renderer.draw(part, torch.full_like(part, stamped, dtype=torch.bool), random, augment=False)
        for part in torch.split(labels, _BATCH)
    ]
    return torch.cat(parts), labels


def write(folder: Path, images: Tensor, labels: Tensor) -> None:
    """One PNG an image, `class_<c>_example_<n>.png`, n counting over all classes."""
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for number, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        Image.fromarray(image).save(folder / f"class_{label}_example_{number}.png")
