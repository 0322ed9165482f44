"""`scan --key` and `--head` choose the network and its classification layer; what is in doubt is not told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from networks import plain_cnn
from weightfeat.cli import main

ROOT = Path(__file__).resolve().parents[2]


def scanned(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, object]:
    """What `weightfeat scan --format json` says of one file."""
    main(["scan", "--format", "json", "--learned-parameters", str(ROOT / "learned_parameters"), *argv])
    found: dict[str, object] = json.loads(capsys.readouterr().out)["files"][0]
    return found


def saved(folder: Path, content: object) -> str:
    torch.save(content, folder / "model.pt")
    return str(folder / "model.pt")


def test_key_chooses_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, {"model": plain_cnn(7).state_dict(), "ema": plain_cnn(5).state_dict()})
    usual, other = scanned(capsys, path), scanned(capsys, "--key", "ema", path)
    assert (usual["classes"], other["classes"]) == (7, 5)
    assert scanned(capsys, "--key", "elsewhere", path)["said"] == "not analysed"


def test_head_chooses_the_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {
        **plain_cnn(7).state_dict(),
        "fc_other.weight": torch.randn(3, 24),
        "fc_other.bias": torch.ones(3),
    }
    path = saved(tmp_path, state)
    assert scanned(capsys, path)["classes"] == 7
    assert scanned(capsys, "--head", "fc_other", path)["classes"] == 3
    assert "is called 'none'" in str(scanned(capsys, "--head", "none", path)["error"])


def test_what_is_in_doubt_is_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5))
    found = scanned(capsys, saved(tmp_path, network.state_dict()))
    assert (found["said"], found["interval"], found["suspect"]) == ("cannot tell", [0.0, 1.0], None)
    assert any("before any training" in str(finding) for finding in found["findings"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_the_interval_of_rounded_weights_holds_what_the_whole_ones_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: torch.dtype
) -> None:
    state = plain_cnn(7).state_dict()
    whole = scanned(capsys, saved(tmp_path, state))
    rounded = scanned(
        capsys, saved(tmp_path, {k: v.to(kind) if v.is_floating_point() else v for k, v in state.items()})
    )
    low, high = rounded["interval"]  # type: ignore[misc]
    assert low <= whole["probability"] <= high
