"""Which file a request means, and where a run may write."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from container_round import own_environment
from weightfeat.commands import defaults
from weightfeat.container.flags import Request
from weightfeat.container.paths import confine, resolve


@pytest.mark.parametrize("flag", ["metaparameters_filepath", "schema_filepath", "learned_parameters_dirpath"])
def test_a_flag_comes_before_its_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str) -> None:
    monkeypatch.setattr(defaults, "ROOTS", (tmp_path,))
    assert resolve(Request(mode="infer"), flag) == defaults.default(flag)
    given = Request(mode="infer", **{flag: tmp_path / "given"})  # type: ignore[arg-type]
    assert resolve(given, flag) == tmp_path / "given"


def test_a_confined_process_keeps_its_temporary_files_in_scratch(tmp_path: Path) -> None:
    scratch = tmp_path / "made" / "here"
    with own_environment():
        confine(scratch)
        with tempfile.NamedTemporaryFile() as file:
            assert Path(file.name).parent == scratch
        for variable in ("TMPDIR", "JOBLIB_TEMP_FOLDER", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
            assert Path(os.environ[variable]).is_relative_to(scratch)


def test_a_scratch_that_cannot_be_made_does_not_stop_detection() -> None:
    with own_environment():
        confine(Path("/proc/scratch"))
