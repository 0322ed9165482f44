"""A stream's beginning and end are kept whatever its length, and nothing that holds its pipe is waited for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from weightfeat.server import logs
from weightfeat.server.logs import KEPT, Log


def said(path: Path, program: str) -> bytes:
    """What the file holds when `program` has ended."""
    log = Log(path)
    child = subprocess.Popen([sys.executable, "-c", program], stdout=log.descriptor)
    log.started()
    assert child.wait() == 0
    log.close()
    return path.read_bytes()


@pytest.mark.parametrize("length", [0, 1, 70_000, 2 * KEPT])
def test_what_is_short_enough_is_kept_whole(length: int, tmp_path: Path) -> None:
    program = f"import sys; sys.stdout.write('0123456789' * {length // 10} + 'x' * {length % 10})"
    assert said(tmp_path / "log", program) == b"0123456789" * (length // 10) + b"x" * (length % 10)


@pytest.mark.parametrize("more", [1, 5 * KEPT])
def test_of_what_is_too_long_both_ends_are_kept_and_the_rest_is_counted(more: int, tmp_path: Path) -> None:
    ends = KEPT - 5
    program = f"import sys; w = sys.stdout.write; w('begin' + 'a' * {ends}); w('b' * {more}); w('c' * {ends} + 'end..')"
    found = said(tmp_path / "log", program)
    note = f"\n[{more} bytes are left out here]\n".encode()
    assert found == b"begin" + b"a" * ends + note + b"c" * ends + b"end.."


def test_a_process_that_keeps_the_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """One that goes on writing, too: what the pipe held is read, no more."""
    log = Log(tmp_path / "log")
    child = subprocess.Popen(["yes"], stdout=log.descriptor)
    log.started()
    log.close()
    assert (tmp_path / "log").stat().st_size < 4 * KEPT
    child.kill()
    child.wait()


def test_a_full_disk_loses_the_log_and_not_the_run(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/full")
    log = Log(tmp_path / "log")
    child = subprocess.Popen([sys.executable, "-c", "print('x' * 1000000)"], stdout=log.descriptor)
    log.started()
    assert child.wait() == 0
    log.close()


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="log"):
        logs.Log(tmp_path / "absent" / "log")
