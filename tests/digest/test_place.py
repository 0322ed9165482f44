"""Where a digest is made: a GPU that fails, at once or midway, costs a warning and never the digest."""

from __future__ import annotations

import _ctypes
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from array_api_compat import torch as xp

from container_round import REPOSITORY
from networks import network_of, plain_cnn
from weightfeat import digest as room
from weightfeat.digest import layers, place
from weightfeat.digest.place import HOST, Place, choose_place
from weightfeat.errors import UnsupportedLayout, WeightfeatError

KEY = "a" * 64
FAILURES = {
    "no kernel image": RuntimeError(
        "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be ..."
    ),
    "out of memory": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "exclusive mode": RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    "no library": OSError("libcusolver.so.12: cannot open shared object file"),
}


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    place._gpu.cache_clear()
    yield
    place._gpu.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Place:
    """A GPU as far as anybody can tell: torch's code, on this processor."""
    stand_in = Place(xp, torch.device("cpu"))
    monkeypatch.setattr(place, "_gpu", lambda: stand_in)
    return stand_in


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_fails_midway_costs_one_warning(
    failure: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def fail(*_: object, **__: object) -> None:
        calls.append(1)
        raise FAILURES[failure]

    network = network_of(plain_cnn())
    monkeypatch.setattr(xp.linalg, "eigvalsh", fail)
    found = room.compute(network, key=KEY)
    assert calls
    assert found.to_bytes() == room.compute(network, key=KEY, device="cpu").to_bytes()
    (warning,) = warnings_in(caplog)
    assert str(FAILURES[failure]).partition("\n")[0] in warning
    assert KEY[:16] in warning
    assert "\n" not in warning


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_cannot_even_tell_its_name_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said = Place.described

    def fail(self: Place) -> str:
        if self.is_host:
            return said(self)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(Place, "described", fail)
    found = room.compute(network_of(plain_cnn()), key=KEY)
    assert found.to_bytes() == room.compute(network_of(plain_cnn()), key=KEY, device="cpu").to_bytes()
    (warning,) = warnings_in(caplog)
    assert "the GPU failed (RuntimeError: CUDA error: an illegal memory access" in warning


@pytest.mark.usefixtures("gpu")
def test_what_is_wrong_with_the_network_is_no_fault_of_the_gpu_s(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = UnsupportedLayout("spoilt", where="it", expected="bread", remedy="bake")
    monkeypatch.setattr("weightfeat.digest.layers.spectrum", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(WeightfeatError, match="spoilt"):
        room.compute(network_of(plain_cnn()), key=KEY)
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("at", ["empty", "linalg.eigvalsh"])
def test_a_gpu_that_does_not_compute_is_not_chosen(
    failure: str, at: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FAILURES[failure]

    monkeypatch.setattr(place, "_may_have_gpu", lambda: True)
    real = torch.device
    monkeypatch.setattr(torch, "device", lambda name: real("cpu"))
    holder = xp.linalg if "." in at else torch
    monkeypatch.setattr(holder, at.rpartition(".")[2], fail)
    assert choose_place("auto") is HOST
    assert choose_place("auto") is HOST
    (warning,) = warnings_in(caplog)
    assert str(FAILURES[failure]).partition("\n")[0] in warning


@pytest.mark.parametrize("failure", ["no kernel image", "out of memory"])
def test_a_device_that_was_asked_for_by_name_is_refused_where_it_fails(
    failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FAILURES[failure]

    monkeypatch.setattr(xp.linalg, "eigvalsh", fail)
    with pytest.raises(UnsupportedLayout, match="device not available") as caught:
        choose_place("torch")
    assert str(FAILURES[failure]).partition("\n")[0] in str(caught.value)


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_are_hidden_are_not_looked_for(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.setattr(place.ctypes, "CDLL", lambda name: name)
    assert not place._may_have_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert place._may_have_gpu()


def test_a_gpu_is_for_the_blocks_that_gain_from_one(gpu: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    network = network_of(plain_cnn())
    for blocks, made_on in (
        (room.VERSIONS.keys() - layers.BLOCKS, HOST),
        ({"head"}, HOST),
        ({"spectrum"}, gpu),
        (None, gpu),
    ):
        caplog.clear()
        room.compute(network, key=KEY, blocks=blocks)
        assert any(line.endswith(f"made on {made_on.described()}") for line in caplog.messages)


TWICE = """
import logging, sys
logging.basicConfig(format="%(levelname)s %(message)s")
import torch
from weightfeat import digest
sys.path.insert(0, {tests!r})
from networks import network_of, plain_cnn
network = network_of(plain_cnn())
made = [digest.compute(network, key="a" * 64, device=device).to_bytes() for device in ("auto", "auto", "cpu")]
assert made[0] == made[1] == made[2]
"""


def test_a_driver_without_a_gpu_costs_one_warning(tmp_path: Path) -> None:
    """A library by the driver's name that holds nothing of it, and torch as it is installed here."""
    shutil.copy(_ctypes.__file__, tmp_path / "libcuda.so.1")
    done = subprocess.run(
        [sys.executable, "-c", TWICE.format(tests=str(REPOSITORY / "tests"))],
        env={"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("WARNING no GPU is used, though there is a driver: ")
