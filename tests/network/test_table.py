"""The architecture table is what torchvision's networks are, and nothing heavy is needed to read it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import architecture_table
from channel_flow import trace
from weightfeat.execution.vision import build_network
from weightfeat.network.names import ARCHITECTURES, family_of
from weightfeat.network.table import ANY, CLASSES, entries

WRITTEN = json.loads(architecture_table.PATH.read_text())


def test_covers_every_architecture_once_and_aux_variants_besides() -> None:
    plain = [entry.architecture for entry in entries() if not entry.aux]
    assert tuple(plain) == ARCHITECTURES
    assert [entry.architecture for entry in entries() if entry.aux] == ["googlenet", "inception_v3"]
    assert len(ARCHITECTURES) == 23


@pytest.mark.parametrize(
    "written", WRITTEN, ids=lambda item: item["architecture"] + ("+aux" if item["aux"] else "")
)
def test_table_is_regenerated_from_torchvision(written: dict[str, object]) -> None:
    fresh = architecture_table.entry(str(written["architecture"]), tuple(written["aux"]))  # type: ignore[arg-type]
    assert json.loads(json.dumps(fresh)) == written


def test_rendering_reads_back_as_the_same_table() -> None:
    assert json.loads(architecture_table.render(WRITTEN)) == WRITTEN
    assert architecture_table.render(WRITTEN) == architecture_table.PATH.read_text()


@pytest.mark.parametrize(
    ("architecture", "aux"), [("densenet121", False), ("squeezenet1_1", False), ("inception_v3", True)]
)
def test_tensors_are_the_state_dict_in_order(architecture: str, aux: bool) -> None:
    with torch.device("meta"):
        state = build_network(architecture, 11, aux_heads=aux).state_dict()
    entry = next(item for item in entries() if item.architecture == architecture and bool(item.aux) == aux)
    expected = [
        (name, tuple(tensor.shape)) for name, tensor in state.items() if "num_batches_tracked" not in name
    ]
    sizes = {CLASSES: 11, ANY: 11}
    assert expected == [
        (name, tuple(size if isinstance(size, int) else sizes[size] for size in shape))
        for name, shape in entry.tensors
    ]


def test_families_are_those_of_the_names() -> None:
    assert all(entry.family == family_of(entry.architecture) for entry in entries())


def test_reading_the_table_imports_neither_torch_nor_torchvision() -> None:
    code = (
        "import sys, weightfeat.network as n; from weightfeat.network.table import entries; entries();"
        "assert not {'torch', 'torchvision', 'scipy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class _Mixed(nn.Module):
    """Two branches added, a split, and a flattening of more than one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 4, 1)
        self.late_norm = nn.BatchNorm2d(4)
        self.right = nn.Conv2d(4, 6, 1)
        self.narrow = nn.Conv2d(3, 2, 1)
        self.fc = nn.Linear(2 * 8 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.stem(x).relu()
        left = self.left(torch.relu(self.norm(self.depthwise(stem))))
        right = self.right(torch.relu(self.late_norm(left + stem)))
        first, _ = right.chunk(2, dim=1)
        flat: torch.Tensor = self.fc(torch.flatten(self.narrow(first), 1))
        return flat


def test_tracing_follows_channels_through_what_keeps_them_only() -> None:
    wiring = trace(_Mixed(), image_size=8)
    assert wiring["stem"].previous is None
    assert wiring["depthwise"].previous == "stem"
    assert wiring["depthwise"].norm_after == "norm"
    assert wiring["left"].previous == "stem"  # past the depthwise layer
    assert (wiring["right"].previous, wiring["right"].norm_before) == (
        None,
        "late_norm",
    )  # an addition between
    assert wiring["right"].inputs.segments[0].source == "stem"  # the last operand
    assert wiring["narrow"].previous is None  # only a half of what `right` gives
    assert wiring["fc"].previous is None  # 64 inputs a channel
