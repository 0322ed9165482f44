"""The table of files people really have judges what each gives by its rules, and says which files it does not know."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from weightfeat.detector import Detector

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = """
import os, pathlib, torch
from torch import nn
out = pathlib.Path(os.environ["CASES_OUT"])
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.Flatten(), nn.Linear(32, 6))
with torch.no_grad():
    net[2].weight[0] *= 4
def save(name, what):
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    torch.save(what, out / name)
save("00/plain.pt", net.state_dict())
save("01/wrapped.pt", {"module." + k: v for k, v in net.state_dict().items()})
save("04/other.pt", {k: v * 2 for k, v in net.state_dict().items()})
save("99/unknown.pt", net.state_dict())
"""


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cases_table", Path(__file__).with_name("table.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_what_is_right(table: ModuleType) -> None:
    plain, near, far = (table.Given(p, (p - 0.05, p + 0.05)) for p in (0.3, 0.305, 0.5))
    refused, doubted = table.Given(None, said="no"), table.Given(0.3, doubted=True)
    for given, right, like, expected in (
        (plain, ("same",), plain, True),
        (near, ("same",), plain, False),
        (near, ("near",), plain, True),
        (far, ("near",), plain, False),
        (table.Given(0.5, (0.2, 0.6)), ("near",), plain, True),
        (plain, ("same",), None, False),
        (far, ("number",), None, True),
        (refused, ("same", "refused"), plain, True),
        (refused, ("number",), plain, False),
        (doubted, ("same", "number"), plain, False),
        (doubted, ("doubt",), plain, True),
    ):
        assert table.is_right(given, right, like) == expected, (given, right)


def test_every_rule_can_be_met(table: ModuleType) -> None:
    rules = table.rules()
    assert len({rule.files for rule in rules}) == len(rules)
    assert {word for rule in rules for word in rule.right} == {"same", "near", "number", "doubt", "refused"}


def test_a_line_a_file(table: ModuleType, tmp_path: Path) -> None:
    generator = tmp_path / "00_base.py"
    generator.write_text(GENERATOR)
    scan = table.Scanner(Detector.load(ROOT / "learned_parameters"))
    verdicts = {name: (right, verdict) for name, right, _, verdict in table.rows([generator], scan)}
    assert verdicts == {
        "00/plain.pt": ("same", "ok"),
        "01/wrapped.pt": ("same", "ok"),
        "04/other.pt": ("same", "WRONG"),
        "99/unknown.pt": ("", "not listed"),
    }
