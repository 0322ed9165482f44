"""A step of the build: the files that commands take where no flag names another travel inside the package.

Their source is the repository's top; nothing is there twice. `weightfeat/commands/defaults.py` finds them in a checkout
as in an installed package. An editable installation runs from the checkout and gets no copy.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

__all__ = ["SHIPPED", "BuildPy"]

PLACE = Path("weightfeat", "shipped")
SHIPPED = ("metaparameters.json", "metaparameters_schema.json", "learned_parameters", "recipes")
"""`recipes` too, the largest (20 kB a network): without it `configure` and `cv` would learn another detector."""


class BuildPy(build_py):
    """setuptools' own, and the files of SHIPPED into weightfeat/shipped.

    The four methods are those that setuptools documents for steps that make files (its class SubCommand).
    """

    def run(self) -> None:
        """Build the package; what an earlier build left of shipped files goes first.

        Raises FileNotFoundError where one of SHIPPED is absent, and this is no editable installation.
        """
        super().run()
        shutil.rmtree(Path(self.build_lib) / PLACE, ignore_errors=True)
        absent = [name for name in SHIPPED if not _files(Path(name))]
        if absent and not self.editable_mode:
            raise FileNotFoundError(
                f"{absent[0]}: is not at the top of the repository; build from a whole one"
            )
        for target, source in self._shipped().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_source_files(self) -> list[str]:
        """What a source distribution must have."""
        own = super().get_source_files()  # type: ignore[no-untyped-call]  # the stubs give it no type
        return [*own, *self._shipped().values()]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Every file that the build leaves."""
        return [*super().get_outputs(include_bytecode), *self._shipped()]

    def get_output_mapping(self) -> dict[str, str]:
        """Of each file that the build leaves, its source."""
        return {**super().get_output_mapping(), **self._shipped()}

    def _shipped(self) -> dict[str, str]:
        """Source by target."""
        if self.editable_mode:
            return {}
        folder = Path(self.build_lib) / PLACE
        return {str(folder / source): str(source) for name in SHIPPED for source in _files(Path(name))}


def _files(path: Path) -> list[Path]:
    """`path`, or the files below it but for hidden ones, which are locks and parts."""
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in found if file.is_file() and not file.name.startswith(".")]
