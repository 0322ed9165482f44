"""What these commands leave behind: JSON, pictures and repaired networks, each written whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from weightfeat.behaviour.protocol import Outcome
from weightfeat.execution import ToInput
from weightfeat.execution.inputs import CONFIG
from weightfeat.files import make_folder, write_atomically

REPAIRED = "repaired.pt"


def write_outcome(folder: Path, method: str, outcome: Outcome, extra: Mapping[str, Any]) -> None:
    """`<method>.json` (score, target, `extra`, evidence) and a PNG for each of the outcome's images."""
    make_folder(folder, "output folder")
    for name, image in outcome.images.items():
        write_atomically(folder / f"{name}.png", png(image), "picture")
    said = {"method": method, "score": outcome.score, "target": outcome.target, **extra}
    write_json(folder / f"{method}.json", {**said, "evidence": dict(outcome.evidence)})


def write_repaired(folder: Path, module: nn.Module, to_input: ToInput, report: Mapping[str, Any]) -> Path:
    """The repaired network as rounds ship theirs, how its input is made, and `repair.json`."""
    make_folder(folder, "output folder")
    content = io.BytesIO()
    plain = module.to("cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    torch.save(plain.eval(), content)
    write_atomically(folder / REPAIRED, content.getvalue(), "repaired network")
    write_json(folder / CONFIG, to_input.config())
    write_json(folder / "repair.json", report)
    return folder / REPAIRED


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """The values as indented JSON."""
    write_atomically(path, json.dumps(dict(value), indent=2) + "\n")


def png(image: NDArray[np.float32]) -> bytes:
    """An image (3, h, w) in [0, 1] as PNG."""
    from PIL import Image

    content = io.BytesIO()
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(content, format="PNG")
    return content.getvalue()
