"""Where a model is laid out for the detector, always at the same paths, and the flags that name them.

Every model is copied to one path, result and scratch are emptied before it: a detector can key nothing by name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from weightfeat.errors import UnreadableFile
from weightfeat.files import make_folder

__all__ = ["APIS", "Parameters", "Workspace", "arguments"]

EXAMPLES = ("example_data", "clean-example-data", "clean_example_data")
"""Names of a model's examples over the rounds; the first that exists is copied."""

CONTAINER_ACTIVE = Path("/home/trojai/active")
CONTAINER_SCRATCH = Path("/mnt/scratch/scratch")


@dataclass(frozen=True)
class Parameters:
    """Paths of the files that a team ships, as the detector sees them."""

    metaparameters: Path = Path("/metaparameters.json")
    schema: Path = Path("/metaparameters_schema.json")
    learned: Path = Path("/learned_parameters")


@dataclass(frozen=True)
class Workspace:
    """One detector run's folders: `active` and `scratch` may be written to, `home` and `cwd` should stay empty.

    `seen_active` and `seen_scratch` are the same two folders by the names the detector has for them.
    """

    root: Path
    seen_active: Path
    seen_scratch: Path
    owner: int | None = None

    @classmethod
    def on_host(cls, root: Path) -> Workspace:
        """A workspace whose paths the detector sees as they are."""
        root = root.absolute()
        return cls(root, root / "active", root / "scratch")

    @classmethod
    def in_container(cls, root: Path, owner: int | None) -> Workspace:
        """A workspace bound into a container's root at the paths NIST uses, written to by user `owner`."""
        return cls(root.absolute(), CONTAINER_ACTIVE, CONTAINER_SCRATCH, owner)

    @property
    def active(self) -> Path:
        """Folder of model, examples and result."""
        return self.root / "active"

    @property
    def scratch(self) -> Path:
        """Folder for temporary files, empty before each model."""
        return self.root / "scratch"

    @property
    def home(self) -> Path:
        """HOME of a detector; nothing should appear in it."""
        return self.root / "home"

    @property
    def cwd(self) -> Path:
        """Working folder of a detector; nothing should appear in it."""
        return self.root / "cwd"

    @property
    def writable(self) -> tuple[Path, ...]:
        """All folders a detector could write to, caged or not."""
        return (self.active, self.scratch, self.home, self.cwd)

    @property
    def result(self) -> Path:
        """Where the result file is awaited."""
        return self.active / "result.txt"

    def lay_out(self, model: Path) -> None:
        """Empty all four folders and copy the model and its examples to their constant paths.

        Raises
        ------
        UnreadableFile : the model or its examples cannot be copied.
        """
        self.clear()
        for folder in self.writable:
            make_folder(folder, "workspace")
        try:
            shutil.copyfile(model, self.active / "model.pt")
            examples = next((p for p in (model.parent / name for name in EXAMPLES) if p.is_dir()), None)
            if examples is None:
                (self.active / "example_data").mkdir()
            else:
                shutil.copytree(examples, self.active / "example_data")
        except (OSError, shutil.Error) as error:
            raise UnreadableFile(
                f"could not be copied ({error})",
                where=model,
                expected="a readable model file",
                remedy="mend the round or the disk",
            ) from error
        if self.owner is not None:
            for folder in (self.active, self.scratch):
                os.chown(folder, self.owner, self.owner)

    def clear(self) -> None:
        """Remove everything, whatever permissions a detector left on it."""
        for folder, names, _ in os.walk(self.root):
            for path in (Path(folder, name) for name in names):
                if not path.is_symlink():  # it may lead out of here
                    path.chmod(0o755)
        shutil.rmtree(self.root, ignore_errors=True)

    def strays(self) -> list[Path]:
        """Files outside scratch that are neither what was laid out nor the result."""
        expected = {self.active / "model.pt", self.result}
        found = (path for folder in (self.active, self.home, self.cwd) for path in sorted(folder.rglob("*")))
        return [
            path
            for path in found
            if path.is_file() and path not in expected and self.active / "example_data" not in path.parents
        ]


def _basic(space: Workspace, parameters: Parameters) -> list[object]:
    active = space.seen_active
    return [
        *("--model_filepath", active / "model.pt", "--result_filepath", active / "result.txt"),
        *("--scratch_dirpath", space.seen_scratch, "--examples_dirpath", active / "example_data"),
    ]


def _text(space: Workspace) -> list[object]:
    active = space.seen_active
    return [
        "--cls_token_is_first",
        *("--tokenizer_filepath", active / "tokenizer.pt", "--embedding_filepath", active / "embedding.pt"),
    ]


def _shipped(space: Workspace, parameters: Parameters) -> list[object]:
    return [
        *("--round_training_dataset_dirpath", space.seen_active / "round_training_dataset"),
        *("--metaparameters_filepath", parameters.metaparameters),
        *("--schema_filepath", parameters.schema),
        *("--learned_parameters_dirpath", parameters.learned),
    ]


def _round_9(space: Workspace, parameters: Parameters) -> list[object]:
    return [*_basic(space, parameters), *_text(space), *_shipped(space, parameters)]


def _round_10(space: Workspace, parameters: Parameters) -> list[object]:
    source = ("--source_dataset_dirpath", space.seen_active / "source_dataset")
    return [*_basic(space, parameters), *_shipped(space, parameters), *source]


APIS: Mapping[str, Callable[[Workspace, Parameters], list[object]]] = {
    "1-4": _basic,
    "5-8": lambda space, parameters: [*_basic(space, parameters), *_text(space)],
    "9": _round_9,
    "10": _round_10,
    "11": _round_10,
    "infer": lambda space, parameters: ["infer", *_basic(space, parameters), *_shipped(space, parameters)],
}
"""The flags the rounds' harness passes, by round. It never passed --features_filepath or --configure_mode."""


def arguments(api: str, space: Workspace, parameters: Parameters) -> list[str]:
    """The detector's arguments under the flags of round `api`, a key of APIS."""
    return [str(argument) for argument in APIS[api](space, parameters)]
