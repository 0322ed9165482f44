"""One piece of work over many files: in processes here or on a cluster, each file's result as soon as it is there.

Paths are sent to the workers, never tensors. Whatever a file does to the process that reads it costs that file alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from weightfeat.digest.processes import ending_with_this
from weightfeat.rounds import cluster

__all__ = ["KILLED", "over_files"]

KILLED = "the process that read it was killed (out of memory?)"
"""What is to be said of a file whose result is None."""
_SUSPECTS = 16
"""How many files are tried one at a time once a worker was killed, before the rest goes on in parallel."""

_Result = TypeVar("_Result")


def over_files(
    paths: Sequence[Path],
    work: Callable[..., _Result],
    *,
    jobs: int = 1,
    in_threads: bool = False,
    scheduler: str | None = None,
) -> Iterator[tuple[Path, _Result | None]]:
    """(path, `work(path)`) in the order they are finished; None where the process that read it was killed.

    Parameters
    ----------
    work : can be pickled, and raises nothing. On a cluster it is called with the absolute path and `threads=1`.
    jobs : processes, or threads; 0 or less: one a core, and with 1 the work is done in this process.
    in_threads : for work that a GPU does: threads of this process instead of processes.
    scheduler : address of a dask scheduler whose workers do the work instead, one file a worker thread; they see the
        files under the same paths.

    Raises
    ------
    NoCluster : nothing answers at `scheduler`.
    """
    if scheduler is not None:
        yield from _on_cluster(paths, work, scheduler)
        return
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    run = partial(_parallel, work=work, in_threads=in_threads)
    pending = dict.fromkeys(paths)
    while pending:
        try:
            for path, result in run(list(pending), jobs=jobs):
                del pending[path]
                yield path, result
        except TerminatedWorkerError:
            # Paths are handed out in order, so what was under way is among the first not yet heard of.
            for path in list(pending)[:_SUSPECTS]:
                del pending[path]
                try:  # in a process of its own, so that only that process can die
                    yield next(run([path], jobs=2))
                except TerminatedWorkerError:
                    yield path, None


def _on_cluster(
    paths: Sequence[Path], work: Callable[..., _Result], address: str
) -> Iterator[tuple[Path, _Result | None]]:
    """The same on a cluster, whose worker threads stand for a core each."""
    both = [(path, path.absolute()) for path in paths]  # relative ones mean another place elsewhere
    for (path, _), result in cluster.each(address, partial(_absolute, work=partial(work, threads=1)), both):
        yield path, result


def _absolute(paths: tuple[Path, Path], work: Callable[[Path], _Result]) -> _Result:
    return work(paths[1])


def _parallel(
    paths: Sequence[Path], jobs: int, work: Callable[[Path], _Result], in_threads: bool
) -> Iterator[tuple[Path, _Result]]:
    from joblib import Parallel, cpu_count, delayed

    # On the CPU one process a core, its share of the cores by OMP_NUM_THREADS.
    parallel: Any = Parallel(
        n_jobs=jobs if jobs > 0 else cpu_count(),
        backend="threading" if in_threads else "loky",
        return_as="generator_unordered",
        batch_size=1,
        **({} if in_threads else ending_with_this(deaf=True)),
    )
    yield from parallel(delayed(_with_path)(path, work) for path in paths)


def _with_path(path: Path, work: Callable[[Path], _Result]) -> tuple[Path, _Result]:
    return path, work(path)
