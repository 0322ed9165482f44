"""Where a request's files are, and a process that writes only to scratch."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from weightfeat.commands.defaults import default
from weightfeat.commands.program import wait_quietly
from weightfeat.container.flags import Request

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
