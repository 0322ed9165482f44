"""Where the container keeps what a command line does not name, and a process that writes only to scratch."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from weightfeat.container.flags import Request

REPOSITORY = Path(__file__).resolve().parents[2]
INSTALLED = Path(sys.prefix) / "share" / "weightfeat"
ROOTS = (Path("/"), REPOSITORY, INSTALLED)
"""Searched in this order: a container has the files at its root, a clone in the repository, and what `pip install`
makes of one has them where pyproject.toml's data files go."""

_NAMES = {
    "metaparameters_filepath": "metaparameters.json",
    "schema_filepath": "metaparameters_schema.json",
    "learned_parameters_dirpath": "learned_parameters",
}
_CACHES = {
    "TMPDIR": "",
    "JOBLIB_TEMP_FOLDER": "",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "XDG_CACHE_HOME": "cache",
}


def resolve(request: Request, name: str) -> Path:
    """The path given for flag `name`, else its default."""
    given: Path | None = getattr(request, name)
    return default(name) if given is None else given


def default(name: str) -> Path:
    """The first default of flag `name` that exists, else the repository's own."""
    candidates = (root / _NAMES[name] for root in ROOTS)
    return next((path for path in candidates if path.exists()), REPOSITORY / _NAMES[name])


def wait_quietly() -> None:
    """Let OpenMP's idle threads sleep instead of spin; must run before torch is imported.

    On a busy machine spinning threads keep the working one off the processor: a resnet50 then takes three times
    as long. A value set by the user stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def confine(scratch: Path | None) -> None:
    """Send every temporary file and library cache of this process and its children to `scratch`.

    Must run before torch or joblib is imported: they read these variables once. Compiled Python files are not
    written at all. With no scratch, detection needs no temporary file and gets no place for one.
    """
    wait_quietly()
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    if scratch is None:
        return
    folder = scratch.absolute()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    for variable, name in _CACHES.items():
        os.environ[variable] = str(folder / name)
    tempfile.tempdir = str(folder)
