"""Whatever pool hands out work, its workers end with the process that holds it, killed or not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from container_round import REPOSITORY

HEAD = """
import os, pathlib, sys, time
from functools import partial
folder = pathlib.Path(sys.argv[1])

def work(*arguments, **more):
    (folder / str(os.getpid())).touch()
    time.sleep(600)
"""
POOLS = {
    "a round's digests": """
from weightfeat.digest import DigestStore
from weightfeat.rounds import extraction
if __name__ == "__main__":
    extraction.digest_one = work
    extraction.digest_models([pathlib.Path("a"), pathlib.Path("b")], DigestStore(folder / "s"), jobs=2, device="cpu")
""",
    "folds and trials": """
from joblib import Parallel, delayed, parallel_config
from weightfeat.detector.out_of_fold import worker_options
if __name__ == "__main__":
    with parallel_config(**worker_options(2)):
        Parallel(max_nbytes=None)(delayed(work)() for _ in range(2))
""",
    "networks of the zoo": """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from weightfeat.digest.processes import ending_with_this
if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"), **ending_with_this()) as pool:
        list(pool.map(work, range(2)))
""",
}


@pytest.mark.e2e
@pytest.mark.parametrize("pool", POOLS)
def test_workers_end_with_the_process_that_is_killed(pool: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(HEAD + POOLS[pool])
    (tmp_path / "pids").mkdir()
    holder = subprocess.Popen(
        [sys.executable, str(program), str(tmp_path / "pids")],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
    )
    workers = _when(
        lambda: [int(path.name) for path in (tmp_path / "pids").iterdir() if path.name.isdigit()], 2
    )
    assert holder.pid not in workers
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    deadline = time.monotonic() + 60
    while (left := [pid for pid in workers if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def _when(look: object, count: int) -> list[int]:
    """What is seen once there are `count`."""
    deadline = time.monotonic() + 120
    while len(found := look()) < count and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.1)
    assert len(found) == count
    return list(found)


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
