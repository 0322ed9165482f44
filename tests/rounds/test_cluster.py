"""Digesting on a real dask cluster over loopback: a scheduler, worker processes, one of them killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_extraction import save_network, store_bytes

from weightfeat import metaparameters
from weightfeat.digest import DigestStore
from weightfeat.rounds import extraction
from weightfeat.rounds.cluster import NoCluster, each
from weightfeat.rounds.extraction import digest_models, digest_one
from weightfeat.rounds.scanning import Judge, scan_files

pytest.importorskip("distributed")
TESTS = Path(__file__).resolve().parent
PATIENCE = 300


@contextmanager
def dask(
    folder: Path, workers: int, allowed_failures: int = 1
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler and worker processes without nannies, so that a killed one stays dead; (address, workers)."""
    file = folder / "scheduler.json"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
        "OMP_NUM_THREADS": "1",
    }
    environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = str(allowed_failures)

    def start(*command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "distributed.cli." + command[0], *command[1:]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
        )

    scheduler = start(
        *("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        *("--scheduler-file", str(file)),
    )
    crew = [scheduler]
    try:
        wait_until(file.is_file)
        crew += [
            start(
                *(
                    "dask_worker",
                    "--scheduler-file",
                    str(file),
                    "--nthreads",
                    "1",
                    "--no-nanny",
                    "--death-timeout",
                    "60",
                ),
                *("--no-dashboard", "--host", "127.0.0.1"),
            )
            for _ in range(workers)
        ]
        address = address_in(file)
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=PATIENCE)
        yield address, crew[1:]
    finally:
        for process in reversed(crew):
            process.kill()
            process.wait()


def address_in(file: Path) -> str:
    return str(json.loads(file.read_text())["address"])


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def slow_work(path: Path, store: DigestStore, device: str, threads: int) -> extraction.Outcome:
    """What a worker does, slowly enough to be killed in the middle of it."""
    time.sleep(0.3)
    return digest_one(path, store, device, threads)


def deadly_work(path: Path, store: DigestStore, device: str, threads: int) -> extraction.Outcome:
    if path.name == "3.pt":
        os.kill(os.getpid(), signal.SIGKILL)
    return digest_one(path, store, device, threads)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [save_network(root / f"{n}.pt", n) for n in range(12)]


@pytest.fixture(scope="module")
def unbroken(models: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = DigestStore(tmp_path_factory.mktemp("unbroken"))
    digest_models(models, store, device="cpu", progress=False)
    return store_bytes(store)


@pytest.mark.e2e
def test_a_worker_killed_in_the_middle_costs_nothing(
    models: list[Path], unbroken: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "digest_one", slow_work)
    store = DigestStore(tmp_path / "store")
    with dask(tmp_path, workers=3) as (address, workers):

        def kill_one() -> None:
            wait_until(lambda: store.root.is_dir() and len(list(store.keys())) >= 2)
            workers[0].send_signal(signal.SIGKILL)

        killer = threading.Thread(target=kill_one)
        killer.start()
        report = digest_models(models, store, device="cpu", progress=False, scheduler=address)
        killer.join()
        assert workers[0].wait(PATIENCE) == -signal.SIGKILL
        assert [worker.poll() for worker in workers[1:]] == [None, None]
    assert report.failures == ()
    assert [outcome.path for outcome in report.outcomes] == models
    assert {name: data for name, data in store_bytes(store).items() if name.endswith(".npz")} == unbroken


@pytest.mark.e2e
def test_a_model_that_kills_every_worker_it_meets_is_one_failure(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "digest_one", deadly_work)
    with dask(tmp_path, workers=3, allowed_failures=0) as (address, _):
        report = digest_models(
            models[:6], DigestStore(tmp_path / "store"), device="cpu", progress=False, scheduler=address
        )
    assert [failure.path.name for failure in report.failures] == ["3.pt"]
    assert "was killed" in str(report.failures[0].error)


def test_no_cluster_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weightfeat.rounds.cluster.CONNECT_SECONDS", 0.5)
    with pytest.raises(NoCluster, match="no dask scheduler there") as caught:
        list(each("tcp://127.0.0.1:9", str, [1]))
    assert "\n" not in str(caught.value)


@pytest.mark.e2e
def test_a_scan_on_a_cluster_says_what_one_here_says(models: list[Path], tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    params = metaparameters.load(root / "metaparameters.json", root / "metaparameters_schema.json")
    judge: Judge[object] = Judge(root / "learned_parameters", params, "cpu")
    text = tmp_path / "text.pt"
    text.write_text("hello")
    given = [*models[:4], text]
    with dask(tmp_path, workers=2) as (address, _):
        found = {each.path: each for each in scan_files(given, judge, scheduler=address)}
    assert sorted(found) == sorted(given)
    assert "text file" in str(found[text].error)
    for here in scan_files(models[:4], judge, jobs=1):
        there = found[here.path]
        assert there.sha256 == here.sha256
        assert there.verdict is not None
        assert here.verdict is not None
        assert there.verdict.path == here.path
        assert there.verdict.probability == here.verdict.probability
