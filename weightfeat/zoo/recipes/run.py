"""Many pairs, in processes side by side; what is finished is kept whatever happens, and found again by the next run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from weightfeat.digest.processes import ending_with_this
from weightfeat.zoo.recipes.produce import Outcome, Task, pair_folder, produce


@dataclass(frozen=True)
class Options:
    """Pairs `first` to `last` (excluded) of the design of `seed`, from the packed sets in `images` into `out`."""

    out: Path
    images: Path
    seed: int
    first: int
    last: int
    jobs: int
    quiet: bool = False


def make_pairs(options: Options) -> tuple[int, int]:
    """Make what is missing; returns how many pairs this run kept, and how many it gave up."""
    options.out.mkdir(parents=True, exist_ok=True)
    pairs = range(options.first, options.last)
    todo = [pair for pair in pairs if not pair_folder(options.out, pair).exists()]
    kept = given_up = 0
    with tqdm(total=len(pairs), initial=len(pairs) - len(todo), unit="pair", disable=options.quiet) as bar:
        for outcome in _outcomes(options, todo):
            kept, given_up = kept + (not outcome.missed), given_up + bool(outcome.missed)
            bar.update()
            bar.write(_described(outcome))
    return kept, given_up


def _outcomes(options: Options, todo: list[int]) -> Iterator[Outcome]:
    tasks = [Task(options.out, options.images, options.seed, pair) for pair in todo]
    # Spawned, not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, options.jobs), mp_context=context, **ending_with_this()) as pool:
        for future in as_completed([pool.submit(produce, task) for task in tasks]):
            yield future.result()


def _described(outcome: Outcome) -> str:
    attack = "" if outcome.attack is None else f"/{outcome.attack:.0f}"
    what = f"given up ({outcome.missed})" if outcome.missed else "kept"
    return f"pair {outcome.pair} {what} {outcome.clean:.0f}{attack} % {outcome.seconds:.0f} s"
