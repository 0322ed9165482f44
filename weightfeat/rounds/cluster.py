"""Work sent to a dask cluster: `dask scheduler` on one machine, `dask worker ADDRESS` on every other.

Not through joblib's dask backend (joblib 1.6): it never hears of a task whose worker was killed, and waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from weightfeat.errors import WeightfeatError, needs

CONNECT_SECONDS = 30
_QUEUED = 4
"""Tasks a worker thread has waiting: enough that none is ever idle, few enough that 10 million need no memory."""

_Given = TypeVar("_Given")
_Result = TypeVar("_Result")


class NoCluster(WeightfeatError):
    """No dask scheduler answers at the address given, or dask is not installed."""


def each(
    address: str, work: Callable[[_Given], _Result], given: Iterable[_Given]
) -> Iterator[tuple[_Given, _Result | None]]:
    """(argument, `work(argument)`) as workers of the cluster at `address` finish; None where it killed its workers.

    A task whose worker died is tried on others, as often as the scheduler allows (`allowed-failures`, by default 3),
    and in the end once more with nothing beside it: what was only near a killer is not blamed. Workers need the same
    version of weightfeat, and run whatever those who reach the scheduler send them: keep it inside a network you
    trust.

    Raises
    ------
    NoCluster : the address is none, nothing answers within 30 s, or the scheduler goes away.
    NotInstalled : dask is not installed.
    """
    client = _connect(address)
    from concurrent.futures import CancelledError

    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    with client:
        remaining, suspects = iter(given), list[_Given]()
        threads = max(1, sum(client.ncores().values()))
        arguments = {
            client.submit(work, one, pure=False): one for one in islice(remaining, _QUEUED * threads)
        }
        finished: Any = as_completed(list(arguments), loop=client.loop)  # type: ignore[no-untyped-call]
        for future in finished:
            argument = arguments.pop(future)
            for one in islice(remaining, 1):
                arguments[following := client.submit(work, one, pure=False)] = one
                finished.add(following)
            try:
                yield argument, future.result()
            except KilledWorker:
                suspects.append(argument)
            except CancelledError as error:
                raise _absent(address, "the scheduler went away") from error
        for argument in suspects:
            try:
                yield argument, client.submit(work, argument, pure=False).result()
            except KilledWorker:
                yield argument, None


def _connect(address: str) -> Any:
    with needs("cluster", address):
        from distributed import Client
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise _absent(address, f"no dask scheduler there ({type(error).__name__})") from error


def _absent(address: str, what: str) -> NoCluster:
    return NoCluster(
        what,
        where=address,
        expected="the address of a running scheduler, such as tcp://host:8786",
        remedy="start one with `dask scheduler`, and workers with `dask worker ADDRESS`; what was digested is kept",
    )
