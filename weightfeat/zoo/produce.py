"""One network from its id to its folder: tries until the gates are passed. Runs in a process of its own."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from weightfeat.errors import BadOutput, BadRound, WeightfeatError
from weightfeat.zoo.allocator import keep_freed_memory
from weightfeat.zoo.design import network_spec
from weightfeat.zoo.folder import RoundFolder
from weightfeat.zoo.presets import preset
from weightfeat.zoo.specification import NetworkSpec
from weightfeat.zoo.train import Epoch, Trained, Trainer
from weightfeat.zoo.writer import PARTIAL, write_network

_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "Cannot allocate memory")


@dataclass(frozen=True)
class Task:
    """What a worker is told. Names and numbers only: cheap to send to another process."""

    root: Path
    preset: str
    seed: int
    id: int
    device: str
    threads: int


@dataclass(frozen=True)
class Outcome:
    """What became of a task. Errors travel as data, since exceptions with keywords do not survive pickling.

    `error` holds (class name, keyword arguments) of a WeightfeatError.
    """

    name: str
    kept: bool
    seconds: float
    clean: float | None = None
    triggered: float | None = None
    rejected: int = 0
    error: tuple[str, dict[str, str]] | None = None


def produce(task: Task, progress: Callable[[str, Epoch], None] | None = None) -> Outcome:
    """Train, try again where a gate is missed, and write. Never raises for what the machine lacks: see Outcome."""
    torch.set_num_threads(task.threads)
    keep_freed_memory()
    started = time.perf_counter()
    spec = network_spec(preset(task.preset), task.seed, task.id)
    try:
        return _attempts(task, spec.name, started, progress)
    except WeightfeatError as error:
        return _failed(spec, started, error)
    except OSError as error:
        _clear(task.root, spec)
        return _failed(spec, started, _disk_error(task.root, error))
    except (MemoryError, RuntimeError) as error:
        _clear(task.root, spec)
        if isinstance(error, RuntimeError) and not any(hint in str(error) for hint in _NO_MEMORY):
            if "PytorchStreamWriter" in str(error):  # torch.save's way of saying that the disk is full
                return _failed(
                    spec, started, _disk_error(task.root, OSError(errno.ENOSPC, "no space left on device"))
                )
            raise
        return _failed(spec, started, _memory_error(spec))


def _attempts(
    task: Task, name: str, started: float, progress: Callable[[str, Epoch], None] | None
) -> Outcome:
    chosen = preset(task.preset)
    folder = RoundFolder(task.root, chosen, task.seed)
    missed = folder.missed(name)
    for attempt in range(len(missed), chosen.attempts):
        spec = network_spec(chosen, task.seed, task.id, attempt)
        begun = time.perf_counter()
        report = (lambda epoch: progress(name, epoch)) if progress else None
        trained = Trainer(spec, torch.device(task.device), report).run()
        if not trained.missed:
            write_network(task.root, spec, trained, time.perf_counter() - begun, task.device)
            return _outcome(spec, trained, started, missed, kept=True)
        missed.append(_rejection(spec, trained))
        folder.record_missed(name, missed)
    return _outcome(spec, trained, started, missed, kept=False)


def _outcome(
    spec: NetworkSpec, trained: Trained, started: float, missed: list[Any], *, kept: bool
) -> Outcome:
    triggered = trained.test_triggered.accuracy if trained.test_triggered else None
    seconds = time.perf_counter() - started
    return Outcome(spec.name, kept, seconds, trained.test_clean.accuracy, triggered, len(missed))


def _rejection(spec: NetworkSpec, trained: Trained) -> dict[str, Any]:
    return {
        "model_name": spec.name,
        "attempt": spec.attempt,
        "model_architecture": spec.architecture.round2_name,
        "poisoned": spec.poisoned,
        "design_cell": spec.cell if spec.poisoned else None,
        "missed": " ".join(trained.missed),
        "clean_acc": trained.test_clean.accuracy,
        "triggered_acc": trained.test_triggered.accuracy if trained.test_triggered else None,
    }


def _failed(spec: NetworkSpec, started: float, error: WeightfeatError) -> Outcome:
    said = {"what": error.what, "where": str(error.where), "expected": error.expected, "remedy": error.remedy}
    return Outcome(spec.name, False, time.perf_counter() - started, error=(type(error).__name__, said))


def _clear(root: Path, spec: NetworkSpec) -> None:
    shutil.rmtree(root / (spec.name + PARTIAL), ignore_errors=True)


def _disk_error(root: Path, error: OSError) -> BadOutput:
    return BadOutput(
        f"a network could not be written ({error.strerror})",
        where=root,
        expected="room on the disk for every network",
        remedy="make room and run again; what was finished is kept",
    )


def _memory_error(spec: NetworkSpec) -> BadRound:
    return BadRound(
        "not enough memory for a batch",
        where=f"{spec.name} ({spec.architecture.name}, {spec.preset.name})",
        expected="memory for one batch a process",
        remedy="run again with fewer --jobs; what was finished is kept",
    )
