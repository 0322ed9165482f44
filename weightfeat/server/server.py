"""A whole round through a detector, one model after the other in a shuffled order; killed, it goes on where it was."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weightfeat.errors import BadRound, UnreadableFile
from weightfeat.evaluation.metrics import MISSING
from weightfeat.files import make_folder
from weightfeat.rounds.disk import ModelEntry, Round
from weightfeat.server import processes
from weightfeat.server.api import APIS
from weightfeat.server.folder import Outcome, alone, continue_with, hashes, keep, kept
from weightfeat.server.isolation import Isolation
from weightfeat.server.places import NO_DATA, Data, Workspace
from weightfeat.server.runner import Limits
from weightfeat.server.trial import Program, trial
from weightfeat.server.verdicts import RESULT_BYTES, Reason

__all__ = ["Settings", "evaluate"]

logger = logging.getLogger(__name__)

SMOKE_TEST = 2
"""Models of `--sts`, NIST's smoke test server."""


@dataclass(frozen=True)
class Settings:
    """What is run, and its limits. `total` bounds the detector's seconds on all models together; None does not.

    `data` are the data sets that its flags name.
    """

    program: Program
    limits: Limits
    data: Data = NO_DATA
    total: float | None = None
    seed: int = 0
    smoke_test: bool = False


def evaluate(round_: Round, output: Path, settings: Settings, isolation: Isolation) -> list[Outcome]:
    """Run the detector on every model and return the outcomes in the round's order.

    Beside the returned outcomes `output` holds results/<id>.txt, logs/<id>.stdout and .stderr, runs/<id>.json. An
    evaluation found there is continued: what has an outcome is not run again.

    Raises
    ------
    BadOutput : the folder cannot be used, is in use, or holds an evaluation with other settings.
    BadRound : no model of the round is there.
    """
    entries = _present(round_, settings)
    for name in ("results", "logs", "runs"):
        make_folder(output / name, "evaluation's folder")
    with alone(output):
        mark = str(output.resolve())
        processes.end_all(None, mark)  # what an evaluation that was killed left running
        continue_with(output, _identity(settings, isolation))
        logger.info(isolation.described())
        done = {
            entry.name: before
            for entry in entries
            if (before := kept(output, entry.name, entry.label)) is not None
        }
        if done:
            logger.info("%d of %d models were run before", len(done), len(entries))
        waiting = [entry for entry in entries if entry.name not in done]
        random.Random(settings.seed).shuffle(waiting)
        used = sum(outcome.seconds for outcome in done.values())
        lap = _stopwatch()
        with _workspace(output, settings.data, isolation) as space:
            for entry in waiting:
                left = None if settings.total is None else settings.total - used
                outcome = _run(entry, output, space, settings, isolation, mark, left, lap)
                used += outcome.seconds
                done[entry.name] = outcome
                logger.info("[%d/%d] %s", len(done), len(entries), _line(outcome))
    return [done[entry.name] for entry in entries]


def _present(round_: Round, settings: Settings) -> list[ModelEntry]:
    entries = [entry for entry in round_.entries if entry.path is not None]
    if len(entries) < len(round_.entries):
        absent = len(round_.entries) - len(entries)
        logger.info("%d rows of METADATA.csv name models that have no folder", absent)
    if not entries:
        raise BadRound(
            "none of its models is there",
            where=round_.root,
            expected="folders id-########/ with model.pt",
            remedy="restore the folders",
        )
    return entries[:SMOKE_TEST] if settings.smoke_test else entries


def _run(
    entry: ModelEntry,
    output: Path,
    space: Workspace,
    settings: Settings,
    isolation: Isolation,
    mark: str,
    left: float | None,
    lap: Callable[[], float],
) -> Outcome:
    if left is not None and left <= 0:  # not kept: a later call with more time runs it
        return Outcome(entry.name, entry.label, Reason.NO_TIME_LEFT, "", None, MISSING)
    assert entry.path is not None
    try:
        space.lay_out(entry.path, APIS[settings.program.api])
    except UnreadableFile as error:  # not kept either: the round may be mended
        return Outcome(entry.name, entry.label, Reason.NO_MODEL, error.what, None, MISSING)
    limits = settings.limits
    limits = limits if left is None else replace(limits, seconds=min(limits.seconds, left))
    logs = (output / "logs" / f"{entry.name}.stdout", output / "logs" / f"{entry.name}.stderr")
    ended, verdict = trial(settings.program, space, isolation, limits, mark=mark, logs=logs)
    _keep_result(space.result, output / "results" / f"{entry.name}.txt")
    space.clear()
    outcome = Outcome(
        name=entry.name,
        label=entry.label,
        exit_code=ended.exit_code,
        seconds=ended.seconds,
        overhead=lap() - ended.seconds,
        peak=ended.peak,
        **{field: getattr(verdict, field) for field in ("reason", "detail", "value", "score", "warnings")},
    )
    keep(output, outcome)
    return outcome


def _keep_result(left: Path, kept: Path) -> None:
    """Copy the result file, as much of it as is read."""
    kept.unlink(missing_ok=True)
    if left.is_file() and not left.is_symlink():
        with contextlib.suppress(PermissionError), left.open("rb") as stream:
            kept.write_bytes(stream.read(RESULT_BYTES))


def _stopwatch() -> Callable[[], float]:
    """A function that returns the seconds since it was last called, so that no moment between two laps is lost."""
    last = time.monotonic()

    def lap() -> float:
        nonlocal last
        before, last = last, time.monotonic()
        return last - before

    return lap


def _identity(settings: Settings, isolation: Isolation) -> dict[str, Any]:
    """What must be the same for outcomes to belong together; limits may change."""
    program = settings.program
    given = program.parameters
    shipped = (given.metaparameters, given.schema, given.learned)
    return {
        "command": list(program.command),
        "api": program.api,
        "root": str(isolation.root),
        "isolated": isolation.active,
        "data": [str(folder) for folder in (settings.data.training, settings.data.source)],
        "parameters": hashes(isolation.root / path.relative_to("/") for path in shipped),
    }


@contextlib.contextmanager
def _workspace(output: Path, data: Data, isolation: Isolation) -> Iterator[Workspace]:
    if isolation.root == Path("/"):
        space = Workspace.on_host(output / "work", data)
    else:
        owner = isolation.user if os.geteuid() == 0 else None
        space = Workspace.in_container(output / "work", owner, data)
    try:
        yield space
    finally:
        space.clear()


def _line(outcome: Outcome) -> str:
    detail = f" ({outcome.detail})" if outcome.detail else ""
    figures = f"{outcome.score:.4f} in {outcome.seconds:.1f} s, {outcome.peak / 2**20:.0f} MiB"
    return f"{outcome.name}: {outcome.reason}{detail}: {figures}"
