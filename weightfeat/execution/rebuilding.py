"""A model file turned into a network that runs: torchvision's own code with the file's tensors in it.

Nothing of the file is ever executed. Its tensors are read by the symbolic reader, the architecture is proved by their
shapes, and the code that runs is torchvision's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from weightfeat import checkpoint, network
from weightfeat.checkpoint.types import Checkpoint, StoredTensor
from weightfeat.errors import UnsupportedLayout
from weightfeat.execution.vision import build_network
from weightfeat.network.recognition import Match, recognise
from weightfeat.network.tensors import numeric


@dataclass(frozen=True, eq=False)
class Executable:
    """A network that can be run.

    Attributes
    ----------
    module : in eval mode on its device; its parameters ask for no gradient, so that a gradient with respect to
        an input costs nothing more.
    architecture : torchvision's name.
    sha256 : of the file it was read from.
    """

    module: nn.Module
    architecture: str
    num_classes: int
    sha256: str


def rebuild(path: Path, device: str = "cpu") -> Executable:
    """The network in a model file, as torchvision would run it; auxiliary heads are left out.

    Raises
    ------
    UnreadableFile, HostileFile, NotAClassifier : as reading and analysing it do.
    UnsupportedLayout : its shapes are not those of one of the 23 architectures, or its weights are not finite.
    """
    file = checkpoint.read(path)
    described = network.build(file)
    match = recognise(numeric(file), ordered=file.ordered)
    if match is None or not match.exact:
        raise UnsupportedLayout(
            f"{described.architecture} network of a shape no trusted code is at hand for",
            where=path,
            expected="one of " + ", ".join(network.ARCHITECTURES),
            remedy="score it from its weights with weightfeat scan, which runs nothing",
        )
    module = build_network(match.entry.architecture, described.num_classes)
    _load(module, match, file)
    module.requires_grad_(False).eval().to(torch.device(device))
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
    return Executable(module, match.entry.architecture, described.num_classes, file.sha256)


def _load(module: nn.Module, match: Match, file: Checkpoint) -> None:
    """Copy the file's tensors in; batch counters, which play no part in eval mode, keep their fresh value."""
    tensors = {
        name: _tensor(match.tensors[name])
        for row in match.entry.rows
        if not match.entry.is_aux(row)
        for name, _ in row.tensors
    }
    left = module.load_state_dict(tensors, strict=False)
    missing = [name for name in left.missing_keys if not name.endswith(".num_batches_tracked")]
    if missing or left.unexpected_keys:
        raise UnsupportedLayout(
            f"this torchvision's {match.entry.architecture} has other tensors "
            f"({', '.join([*missing, *left.unexpected_keys][:3])})",
            where=file.path,
            expected="the layout of torchvision 0.21 or later",
            remedy="install the torchvision that constraints.txt names",
        )


def _tensor(stored: StoredTensor) -> Tensor:
    # A copy: the file's own bytes are mapped read-only, and repair changes weights in place.
    return torch.from_numpy(np.array(stored.float32(), dtype=np.float32))
