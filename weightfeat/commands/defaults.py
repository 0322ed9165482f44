"""Where the files and the program are that a command line does not name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = Path(str(files("weightfeat"))) / "shipped"
"""What tools/shipping.py puts into a built package; a checkout has no such folder."""
HOME = SHIPPED if SHIPPED.is_dir() else REPOSITORY
"""A package that was built looks at its own files alone: beside it lie other people's, whatever their names."""
ROOTS = (Path("/"), HOME)
"""Searched in this order: a container has the files at its root."""

_NAMES = {
    "metaparameters_filepath": "metaparameters.json",
    "schema_filepath": "metaparameters_schema.json",
    "learned_parameters_dirpath": "learned_parameters",
    "recipes_dirpath": "recipes",
}


def default(name: str) -> Path:
    """The first default of flag `name` that exists, else where it should be."""
    candidates = (root / _NAMES[name] for root in ROOTS)
    return next((path for path in candidates if path.exists()), HOME / _NAMES[name])


def program() -> Path:
    """The container's program, which Python runs by its path: detect.py, or the module that stands for it."""
    script, module = REPOSITORY / "detect.py", SHIPPED.parent / "container" / "__main__.py"
    return script if HOME == REPOSITORY and script.is_file() else module
