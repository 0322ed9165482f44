"""benchmarks/gpu.sh where there is no GPU: it says at once what it needs, and asks for nothing the programs lack."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from container_round import REPOSITORY
from weightfeat import cli
from weightfeat.container import flags

SCRIPT = REPOSITORY / "benchmarks" / "gpu.sh"


def programs() -> list[list[str]]:
    """What follows the interpreter in every line that runs detect.py or weightfeat, for the processor."""
    text = SCRIPT.read_text().replace("\\\n", " ").replace("$on", "cpu")
    lines = (shlex.split(line) for line in text.splitlines() if line.lstrip().startswith("seconds "))
    return [words[words.index("$python") + 1 :] for words in lines]


def test_every_command_line_of_it_is_one_that_the_programs_take() -> None:
    found = programs()
    assert {words[2] if words[0] == "-m" else words[0] for words in found} == {"detect.py", "scan", "digest"}
    for words in found:
        if words[0] == "-m":
            assert cli._parser(words[2]).parse_args(words[2:]).device == "cpu"
        else:
            assert flags.parse(words[1:]).unknown == ()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_ends_at_once_and_says_what_it_needs(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT), str(tmp_path / "gpu")],
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=900,  # importing torch takes its time on a busy machine
    )
    assert done.returncode == 1
    assert "error: cuda: device not available" in done.stderr
    assert "expected an NVIDIA GPU, its driver and a torch built for that; DEVICE=cpu tries" in done.stderr
    assert "digests of every architecture" not in done.stdout
    assert "command not found" not in done.stderr
