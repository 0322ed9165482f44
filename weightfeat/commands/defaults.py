"""Where the files are that a command line does not name."""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALLED = Path(sys.prefix) / "share" / "weightfeat"
ROOTS = (Path("/"), REPOSITORY, INSTALLED)
"""Searched in this order: a container has the files at its root, a clone in the repository, and what `pip install`
makes of one has them where pyproject.toml's data files go."""

_NAMES = {
    "metaparameters_filepath": "metaparameters.json",
    "schema_filepath": "metaparameters_schema.json",
    "learned_parameters_dirpath": "learned_parameters",
    "recipes_dirpath": "recipes",
}


def default(name: str) -> Path:
    """The first default of flag `name` that exists, else the repository's own."""
    candidates = (root / _NAMES[name] for root in ROOTS)
    return next((path for path in candidates if path.exists()), REPOSITORY / _NAMES[name])
