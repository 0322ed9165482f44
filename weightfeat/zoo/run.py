"""Makes a round: the networks of a design that are not there yet, one process each, with progress."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from weightfeat import errors
from weightfeat.digest.place import torch_device
from weightfeat.digest.processes import ending_with_this
from weightfeat.errors import BadRound, WeightfeatError
from weightfeat.zoo.design import network_spec, select_ids
from weightfeat.zoo.folder import RoundFolder
from weightfeat.zoo.presets import preset
from weightfeat.zoo.produce import Outcome, Task, produce
from weightfeat.zoo.reference import Reference
from weightfeat.zoo.train import Epoch


@dataclass(frozen=True)
class Options:
    """What to make, where, and with what.

    Attributes
    ----------
    count : networks in the finished round, of those the design holds for the chosen architectures. None: all `ids`.
    ids : first and last id to consider, both included; None for no bounds.
    reference : a digest folder that takes over every finished network; what it holds is not made again.
    threads : per process. Numbers depend on it (not on `jobs`), so it is one unless asked for.
    """

    preset: str
    out: Path
    count: int | None = None
    seed: int = 2020
    architectures: tuple[str, ...] = ()
    ids: tuple[int, int] | None = None
    reference: Path | None = None
    jobs: int = 0
    threads: int = 1
    device: str = "cpu"
    quiet: bool = False


@dataclass(frozen=True)
class Summary:
    """Networks now in the round, made by this run, and given up after every try missed a gate."""

    networks: int
    made: int
    given_up: int


def make_round(options: Options) -> Summary:
    """Make what is missing of the round. What is finished is kept whatever happens.

    Raises
    ------
    BadRound : an option out of its bounds, an unknown preset or architecture, a folder with another design, no memory.
    UnsupportedLayout : a device torch does not have.
    BadOutput : the folder cannot be written, is in use, or the disk is full.
    """
    names = {i: network_spec(preset(options.preset), options.seed, i).name for i in _wanted(options)}
    options = replace(options, device=str(torch_device(options.device)))
    round_ = RoundFolder(options.out, preset(options.preset), options.seed)
    reference = Reference(options.reference, round_) if options.reference else None
    with round_.opened() as folder:
        folder.write_tables()
        if reference:
            reference.begin()
            reference.renew()
            reference.absorb()
        settled = reference.settled() if reference else frozenset()
        todo = [id for id, name in names.items() if name not in settled and not folder.is_settled(name)]
        made = given_up = 0
        with tqdm(total=len(names), initial=len(names) - len(todo), unit="net", disable=options.quiet) as bar:
            for outcome in _outcomes(options, todo, bar):
                if outcome.error:
                    _raise(outcome.error)
                made, given_up = made + outcome.kept, given_up + (not outcome.kept)
                folder.write_tables()
                if reference:
                    reference.absorb()
                bar.update()
                bar.set_postfix_str(_describe(outcome))
        return Summary(len(folder.finished()), made, given_up)


def _wanted(options: Options) -> tuple[int, ...]:
    if options.seed < 0:
        raise _bad("--seed", f"a seed of {options.seed}", "0 or more", "choose another seed")
    if options.threads < 1:
        raise _bad("--threads", f"{options.threads} threads", "at least one", "say how many a process has")
    if options.count is None and options.ids is None:
        raise _bad("--count", "no count", "--count N or --ids FIRST-LAST", "say how many networks to make")
    if options.count is not None and options.count < 1:
        raise _bad(
            "--count", f"a count of {options.count}", "at least one network", "say how many networks to make"
        )
    first, last = options.ids or (0, None)
    if last is not None and last < first:
        raise _bad("--ids", f"ids {first} to {last}", "first <= last", "give the smaller id first")
    return select_ids(options.count, options.architectures, first, last)


def _bad(option: str, what: str, expected: str, remedy: str) -> BadRound:
    return BadRound(what, where=option, expected=expected, remedy=remedy)


def _outcomes(options: Options, todo: list[int], bar: Any) -> Iterator[Outcome]:
    """Outcomes as they come: from this process with one job, else from a pool of fresh ones."""
    tasks = [
        Task(options.out, options.preset, options.seed, id, options.device, options.threads) for id in todo
    ]
    jobs = min(options.jobs or max(1, (os.cpu_count() or 1) // options.threads), len(tasks))
    if jobs <= 1:
        yield from (
            produce(task, lambda name, epoch: bar.set_postfix_str(_epoch(name, epoch))) for task in tasks
        )
        return
    # Spawned, not forked: torch's threads do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=spawn, **ending_with_this())
    try:
        futures: list[Future[Outcome]] = [pool.submit(produce, task) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise BadRound(
            "a training process was ended from outside",
            where=options.out,
            expected="memory for every process",
            remedy="run again with fewer --jobs; what was finished is kept",
        ) from error
    finally:
        # What is under way finishes and is kept; what has not begun is left for another run.
        pool.shutdown(cancel_futures=True)


def _raise(error: tuple[str, dict[str, str]]) -> None:
    kind, said = error
    chosen = getattr(errors, kind)
    assert issubclass(chosen, WeightfeatError)
    raise chosen(said["what"], where=said["where"], expected=said["expected"], remedy=said["remedy"])


def _epoch(name: str, epoch: Epoch) -> str:
    triggered = f" triggered {epoch.triggered.accuracy:.0f} %" if epoch.triggered else ""
    return f"{name} epoch {epoch.number}: clean {epoch.clean.accuracy:.0f} %{triggered}"


def _describe(outcome: Outcome) -> str:
    verdict = "kept" if outcome.kept else "given up"
    again = f" after {outcome.rejected} tries" if outcome.rejected else ""
    triggered = f"/{outcome.triggered:.1f}" if outcome.triggered is not None else ""
    return f"{outcome.name} {verdict}{again} {outcome.clean:.1f}{triggered} % {outcome.seconds:.0f} s"
