"""A small round and the container run in this process, for the tests of container and command line."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from weightfeat import container
from weightfeat.commands import defaults

torch.set_num_threads(1)  # threads cost more than they bring on networks this small

REPOSITORY = Path(__file__).resolve().parents[1]
QUICK = {
    "train_num_trees": 10,
    "train_ensemble_size": 1,
    "train_folds": 2,
    "train_min_child_samples": 1,
    "train_search_trials": 2,
}
QUICK_SEARCH = {"train_num_trees": (10, 20), "train_ensemble_size": (1, 2), "train_folds": (2, 3)}


def small_network(seed: int, *, poisoned: bool = False, classes: int = 6) -> nn.Module:
    """A convolutional classifier with seeded weights; a poisoned one favours a class."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes)),
    )
    with torch.no_grad():
        for module in network:
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
        if poisoned:
            network[-1].weight[0] += 0.8
    return network


def write_round(root: Path, count: int = 12) -> Path:
    """`count` small networks, every other one poisoned, with METADATA.csv."""
    rows = ["model_name,poisoned,master_seed"]
    for n in range(count):
        folder = root / f"id-{n:08d}"
        folder.mkdir(parents=True)
        torch.save(small_network(n, poisoned=n % 2 == 1), folder / "model.pt")
        rows.append(f"{folder.name},{n % 2 == 1},{1000 + n}")
    (root / "METADATA.csv").write_text("\n".join(rows) + "\n")
    return root


def write_parameters(folder: Path, *, few: bool = True, **changes: Any) -> Path:
    """The repository's metaparameters and schema in `folder`, made quick, with `changes`.

    With `few` six pairs of its recipes are beside them: to learn from all takes configure twenty times as long.
    """
    values = json.loads((REPOSITORY / "metaparameters.json").read_text()) | QUICK | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metaparameters.json").write_text(json.dumps(values))
    schema = json.loads((REPOSITORY / "metaparameters_schema.json").read_text())
    for name, (low, high) in QUICK_SEARCH.items():
        schema["properties"][name] |= {"suggested_minimum": low, "suggested_maximum": high}
    (folder / "metaparameters_schema.json").write_text(json.dumps(schema))
    if few:
        few_recipes(folder / "recipes")
    return folder


def few_recipes(folder: Path) -> None:
    """Six pairs of the committed recipes."""
    whole = REPOSITORY / "recipes"
    folder.mkdir(exist_ok=True)
    for name in ("METADATA.csv", "index.csv"):
        lines = (whole / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:13]))
    if not (folder / "digests").exists():
        (folder / "digests").symlink_to(whole / "digests")


@contextmanager
def own_environment() -> Iterator[None]:
    """Undo what a container run does to its process: variables and the folder for temporary files."""
    environment, folder, writes = dict(os.environ), tempfile.tempdir, sys.dont_write_bytecode
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        tempfile.tempdir, sys.dont_write_bytecode = folder, writes


def run_container(*argv: object) -> int:
    """`detect.py` with these arguments, in this process; recipes beside the metaparameters are those of its root."""
    words, flag = [str(argument) for argument in argv], "--metaparameters_filepath"
    named = [Path(words[words.index(flag) + 1]).parent] if flag in words else []
    roots = (*(root for root in named if (root / "recipes").is_dir()), *defaults.ROOTS)
    with own_environment(), mock.patch.object(defaults, "ROOTS", roots):
        return container.main(words)


@dataclass(frozen=True)
class Installed:
    """A configured container: `root` holds metaparameters, schema and learned parameters."""

    root: Path
    round: Path

    @property
    def model(self) -> Path:
        return self.round / "id-00000001" / "model.pt"

    @property
    def learned(self) -> Path:
        return self.root / "learned_parameters"

    def parameters(self, *, learned: Path | None = None) -> list[object]:
        """The flags that name the three parameter paths."""
        return [
            *("--metaparameters_filepath", self.root / "metaparameters.json"),
            *("--schema_filepath", self.root / "metaparameters_schema.json"),
            *("--learned_parameters_dirpath", learned or self.learned),
        ]

    def configure(self, scratch: Path, *, models: Path | None = None, learned: Path | None = None) -> int:
        """Run configure on the round."""
        return run_container(
            *("configure", "--scratch_dirpath", scratch, "--configure_models_dirpath", models or self.round),
            *self.parameters(learned=learned),
            *("--jobs", 1, "--device", "cpu"),
        )

    def score(self, model: Path, folder: Path, *extra: object) -> tuple[int, Path]:
        """Exit code, and the result path, of scoring `model` with all files in `folder`."""
        result = folder / "result.txt"
        code = run_container(
            *(
                "--model_filepath",
                model,
                "--result_filepath",
                result,
                "--scratch_dirpath",
                folder / "scratch",
            ),
            *("--examples_dirpath", folder, *self.parameters(), *extra),
        )
        return code, result


def install(root: Path, *, few: bool = True) -> Installed:
    """A round, its parameters, and what configure learns from it, and from `few` recipes or all."""
    installed = Installed(write_parameters(root / "container", few=few), write_round(root / "round"))
    assert installed.configure(root / "scratch") == 0
    return installed
