"""Where a model is laid out for the detector, always at the same paths.

Every model is copied to one path, result and scratch are emptied before it: a detector can key nothing by name.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from weightfeat.errors import BadOutput, UnreadableFile
from weightfeat.files import make_folder
from weightfeat.server import trees
from weightfeat.server.api import SECRET, Api

__all__ = ["NO_DATA", "Data", "Workspace"]

EXAMPLES = ("clean-example-data", "clean_example_data", "example_data")
"""Names of a model's examples over the rounds; the first that exists is copied."""

CONTAINER_ACTIVE = Path("/home/trojai/active")
CONTAINER_SCRATCH = Path("/mnt/scratch/scratch")


@dataclass(frozen=True)
class Data:
    """Folders a round has beside its models, None where there is none: an empty one is then named."""

    training: Path | None = None
    source: Path | None = None


NO_DATA = Data()


@dataclass(frozen=True)
class Workspace:
    """One detector run's folders: `active` and `scratch` may be written to, `home` and `cwd` should stay empty.

    `seen_active` and `seen_scratch` are the same two folders by the names the detector has for them.
    """

    root: Path
    seen_active: Path
    seen_scratch: Path
    owner: int | None = None
    data: Data = NO_DATA

    @classmethod
    def on_host(cls, root: Path, data: Data = NO_DATA) -> Workspace:
        """A workspace whose paths the detector sees as they are."""
        root = root.absolute()
        return cls(root, root / "active", root / "scratch", data=data)

    @classmethod
    def in_container(cls, root: Path, owner: int | None, data: Data = NO_DATA) -> Workspace:
        """A workspace bound into a container's root at the paths NIST uses, written to by user `owner`."""
        return cls(root.absolute(), CONTAINER_ACTIVE, CONTAINER_SCRATCH, owner, data)

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

    @property
    def seen_training(self) -> Path:
        """The training data set's folder by the detector's name for it."""
        return self._seen("round_training_dataset", self.data.training)

    @property
    def seen_source(self) -> Path:
        """The source data set's folder by the detector's name for it."""
        return self._seen("source_dataset", self.data.source)

    @property
    def bound(self) -> tuple[tuple[Path, Path], ...]:
        """(folder here, folder inside) of the data sets that a container has to be lent, to be read only."""
        if self._on_host:
            return ()
        pairs = ((self.data.training, self.seen_training), (self.data.source, self.seen_source))
        return tuple((given.absolute(), seen) for given, seen in pairs if given is not None)

    @property
    def _on_host(self) -> bool:
        return self.seen_active == self.active

    def _seen(self, name: str, given: Path | None) -> Path:
        return given.absolute() if given is not None and self._on_host else self.seen_active / name

    def lay_out(self, model: Path, api: Api, *, alone: bool = False) -> None:
        """Empty all four folders and copy the model and what `api` lays out beside it to their constant paths.

        Parameters
        ----------
        alone : whether the model's folder is not one of a round's, so that nothing else in it is to be copied.

        Raises
        ------
        UnreadableFile : the model or what is beside it cannot be copied.
        BadOutput : what was there before cannot be removed.
        """
        self.clear()
        if self.root.exists():
            raise BadOutput(
                "cannot be emptied",
                where=self.root,
                expected="a folder whose content may be removed",
                remedy="remove it, as another user where that is what it takes",
            )
        for folder in self.writable:
            make_folder(folder, "workspace")
        try:
            shutil.copyfile(model, self.active / "model.pt")
            if not alone:
                self._beside(model.parent, api)
        except (OSError, shutil.Error) as error:
            raise UnreadableFile(
                f"could not be copied ({error})",
                where=model,
                expected="a readable model file",
                remedy="mend the round or the disk",
            ) from error
        (self.active / api.examples).mkdir(exist_ok=True)
        for seen in (self.seen_training, self.seen_source):
            if seen.is_relative_to(self.seen_active):
                (self.active / seen.name).mkdir(exist_ok=True)
        if self.owner is not None:
            for folder in (self.active, self.scratch):
                os.chown(folder, self.owner, self.owner)

    def _beside(self, folder: Path, api: Api) -> None:
        examples = next((path for name in EXAMPLES if (path := folder / name).is_dir()), None)
        if examples is not None:
            shutil.copytree(examples, self.active / api.examples)
        if not api.whole:
            return
        telling = shutil.ignore_patterns(*SECRET)
        elsewhere = shutil.ignore_patterns(*EXAMPLES, "model.pt", ".*")

        def ignored(at: str, names: list[str]) -> set[str]:
            return telling(at, names) | (elsewhere(at, names) if Path(at) == folder else set())

        own = self.active.stat().st_mode
        shutil.copytree(folder, self.active, ignore=ignored, dirs_exist_ok=True)
        self.active.chmod(own)  # not that of the round's folder, which may be read-only
        if (reduced := folder / "reduced-config.json").is_file():
            shutil.copyfile(reduced, self.active / "config.json")

    def clear(self) -> None:
        """Remove everything, whatever permissions a detector left on it; what cannot be removed stays."""
        trees.remove(self.root)

    def files(self) -> frozenset[Path]:
        """Files outside scratch, the result left out."""
        found = chain.from_iterable(trees.files(folder) for folder in (self.active, self.home, self.cwd))
        return frozenset(path for path in found if path.is_file() and path != self.result)
