"""Without torch a scan works as with it, and what needs torch says so in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from container_round import small_network
from weightfeat.cli import main
from weightfeat.errors import NotInstalled, needs

WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
MAIN = "from weightfeat.cli import main; sys.exit(main(sys.argv[1:]))"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_scan_does_without_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(small_network(0), tmp_path / "model.pt")
    without = run("scan", tmp_path / "model.pt")
    assert without.returncode == 0, without.stderr
    assert main(["scan", str(tmp_path / "model.pt")]) == 0
    assert without.stdout == capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("scan", "MODEL", "--device", "cuda"), "gpu"),
        (("baseline", "strip", "--model", "MODEL", "--examples", "absent"), "zoo"),
        (("guard", "--help"), "zoo"),
        (("zoo", "--preset", "tiny", "--count", "1", "--out", "FOLDER"), "zoo"),
    ],
)
def test_what_needs_torch_names_the_extra_that_brings_it(
    arguments: tuple[str, ...], extra: str, tmp_path: Path
) -> None:
    model, folder = tmp_path / "model.pt", tmp_path / "round"
    torch.save(small_network(0), model)
    places = {"MODEL": model, "FOLDER": folder}
    done = run(*(places.get(word, word) for word in arguments))
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert "torch is not installed" in done.stderr
    assert said[0].endswith(f"pip install 'weightfeat[{extra}]'")
    assert not folder.exists()


def test_other_errors_pass_through() -> None:
    with (
        pytest.raises(NotInstalled, match=r"nowhere is not installed.*weightfeat\[plots\]"),
        needs("plots", "x"),
    ):
        import nowhere.to.be.found  # noqa: F401
    with pytest.raises(KeyError), needs("plots", "x"):
        raise KeyError("x")
